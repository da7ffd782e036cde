package analysis

import (
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// NeededUnits returns about how many units of the canary prove a healthy
// release under p, when stable gets nine times as many and has the given share
// of errors (0 to 1, not included). It is the larger of what the error rate and
// what the 99th percentile need, where latency is taken to be lognormal with a
// shape of 0.8, as web services often are; steadier services need less. It is
// for sentences, not for decisions.
func NeededUnits(p delivery.JudgePolicy, baseRate float64) int {
	p = Defaults(p)
	if unusable(p) != "" || math.IsNaN(baseRate) {
		return math.MaxInt32
	}
	nats := math.Log(1/p.Beta) + math.Ln2
	errors := line{p.PromoteErrorRatio, p.PromoteErrorAdd}
	sb := expected(errors, inside(baseRate))
	need := unitsFor(nats, errors.growth(9, 1, sb, sb), 1)
	const shape, z99 = 0.8, 2.3263478740408408
	slower := inside(math.Erfc((z99+math.Log1p(p.PromoteLatency)/shape)/math.Sqrt2) / 2)
	need = max(need, unitsFor(nats, line{1, 0}.growth(9, 1, 0.01, slower), 1), leastUnits)
	return int(min(math.Ceil(need), math.MaxInt32))
}
