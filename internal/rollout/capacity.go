package rollout

import "github.com/slipway-cd/slipway/internal/delivery"

// Carry returns the largest weight that healthy instances may take when
// replicas of them carry everything. It is the one place where weight and
// capacity meet: no split gives a release more than Carry of what the data
// plane acknowledges as healthy.
func Carry(healthy, replicas int) delivery.Weight {
	if healthy <= 0 {
		return 0
	}
	if healthy >= replicas {
		return delivery.Full
	}
	return delivery.Full * delivery.Weight(healthy) / delivery.Weight(replicas)
}

// Need returns the fewest instances that may take weight w when replicas of
// them carry everything. Need and Carry agree: Carry(Need(w, n), n) >= w.
func Need(w delivery.Weight, replicas int) int {
	if w <= 0 {
		return 0
	}
	n := (int(w)*replicas + int(delivery.Full) - 1) / int(delivery.Full)
	return min(max(n, 1), max(replicas, 1))
}
