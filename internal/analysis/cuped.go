package analysis

// Unit is what one unit of an experiment did: Y in it, and X before it, in the
// same measure if possible: what a user spent in the two weeks before.
type Unit struct{ X, Y float64 }

// Covariance learns from past units how Y goes with X, for CUPED (Deng, Xu, Kohavi
// and Walker, WSDM 2013). Only units of strata before the one that is adjusted may
// be in it, so that the adjustment is known before the values are. Its zero value
// has learned nothing.
type Covariance struct{ n, x, y, xx, xy float64 }

// Add learns from a unit. One with a number that is not finite is ignored.
func (c *Covariance) Add(u Unit) {
	if !isFinite(u.X) || !isFinite(u.Y) {
		return
	}
	c.n++
	dx, dy := u.X-c.x, u.Y-c.y
	c.x += dx / c.n
	c.y += dy / c.n
	c.xx += dx * (u.X - c.x)
	c.xy += dx * (u.Y - c.y)
}

// Theta returns by how much Y rises with X: the slope of least squares, 0 as long as nothing is known.
func (c *Covariance) Theta() float64 {
	if c.n < 2 || c.xx == 0 {
		return 0
	}
	return c.xy / c.xx
}

// Adjust returns the values of one stratum (a block, or a segment of it) with
// Y - theta (X - mean X) for Y. The mean is that of both arms together, so the
// difference of the arms loses only what X explains of it, and its expectation is
// what it was: a unit's X is older than its draw. Units with a number that is not
// finite are left out.
func (c *Covariance) Adjust(stable, canary []Unit) (s, k Value) {
	var n, sum float64
	for _, arm := range [...][]Unit{stable, canary} {
		for _, u := range arm {
			if isFinite(u.X) && isFinite(u.Y) {
				n++
				sum += u.X
			}
		}
	}
	if n == 0 {
		return s, k
	}
	theta, mean := c.Theta(), sum/n
	s.adjusted(stable, theta, mean)
	k.adjusted(canary, theta, mean)
	return s, k
}

func (v *Value) adjusted(units []Unit, theta, mean float64) {
	for _, u := range units {
		if isFinite(u.X) && isFinite(u.Y) {
			y := u.Y - theta*(u.X-mean)
			v.N++
			v.Sum += y
			v.Squares += y * y
		}
	}
}

// isFinite says whether v is a number and no infinity.
func isFinite(v float64) bool { return v-v == 0 }
