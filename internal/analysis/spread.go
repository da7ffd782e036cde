package analysis

import "math"

// moments are a block's values of one arm.
type moments struct{ n, sum, squares float64 }

// about returns the sum of squared distances from m.
func (v moments) about(m float64) float64 {
	return max(v.squares-2*m*v.sum+v.n*m*m, 0)
}

// mean returns their mean.
func (v moments) mean() float64 { return v.sum / v.n }

// learned is what the past says of one arm's values: their mean, and how far
// they lie from what the past said before them.
type learned struct {
	moments
	around float64 // sum of squared distances from the mean of the past
	third  float64 // sum of their third powers, as the sums of blocks show it
	since  float64 // values that those are of
}

// pastValues bounds the values that a prediction rests on, so that it follows drift.
const pastValues = 5000

func (l *learned) add(v moments) {
	if v.n == 0 {
		return
	}
	from := v.mean()
	if l.n > 0 {
		from = l.mean()
	}
	squared := v.about(from)
	l.third += (v.sum - v.n*from) * (squared - v.n*l.variance())
	l.around += squared
	l.since += v.n
	l.n += v.n
	l.sum += v.sum
	if l.n > pastValues {
		l.sum *= pastValues / l.n
		l.n = pastValues
	}
	if l.since > pastValues {
		l.around *= pastValues / l.since
		l.third *= pastValues / l.since
		l.since = pastValues
	}
}

// variance returns the mean squared distance.
func (l *learned) variance() float64 {
	if l.since == 0 {
		return 0
	}
	return l.around / l.since
}

// skewness returns the size of the third moment over the cube of the deviation. A
// block gives no third powers, but over blocks the sum of the distances and the
// sum of their squares vary together by n times the third moment.
func (l *learned) skewness() float64 {
	v := l.variance()
	if v == 0 {
		return 0
	}
	return math.Abs(l.third) / l.since / (v * math.Sqrt(v))
}

// seenMeans sums up judged blocks of values for people, stable's weighted by the
// canary's values.
type seenMeans struct{ blocks, nb, nc, sum, weighted float64 }

func (s *seenMeans) add(b, c moments) {
	s.blocks++
	s.nb += b.n
	s.nc += c.n
	s.sum += c.sum
	s.weighted += c.n * b.mean()
}

func (s *seenMeans) estimates() estimates {
	e := estimates{nStable: s.nb, nCanary: s.nc}
	if s.nc > 0 {
		e.stable, e.canary = s.weighted/s.nc, s.sum/s.nc
	}
	return e
}
