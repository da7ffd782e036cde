package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"sort"
)

// Curve is a number that changes with the seconds since the rollout began. In
// JSON it is a number, or an object with one of the fields below.
type Curve struct {
	Value  float64      `json:"-"`                // of a constant
	Line   [][2]float64 `json:"line,omitempty"`   // [second, value], with straight lines between
	Jumps  [][2]float64 `json:"jumps,omitempty"`  // [second, value], each until the next
	Wave   *Wave        `json:"wave,omitempty"`   // up and down
	Bursts *Bursts      `json:"bursts,omitempty"` // again and again
}

// Wave goes from Low to High and back within Period seconds.
type Wave struct {
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Period float64 `json:"period"`
	Steep  float64 `json:"steep,omitempty"` // how much faster than a sine it turns; 0 is a sine
}

// Bursts is High for the first For seconds of every Every, and Low otherwise.
type Bursts struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Every int     `json:"every"`
	For   int     `json:"for"`
	After int     `json:"after,omitempty"` // second of the first one
}

// UnmarshalJSON takes a number or an object.
func (c *Curve) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &c.Value) == nil {
		return nil
	}
	type plain Curve
	if err := json.Unmarshal(data, (*plain)(c)); err != nil {
		return fmt.Errorf("sim: a curve is a number or line, jumps, wave or bursts: %w", err)
	}
	return nil
}

// at returns the value in a second; before the first it is that of the first.
func (c Curve) at(second int) float64 {
	t := float64(second)
	switch {
	case len(c.Line) > 0:
		return between(c.Line, t)
	case len(c.Jumps) > 0:
		i := sort.Search(len(c.Jumps), func(i int) bool { return c.Jumps[i][0] > t })
		return c.Jumps[max(i-1, 0)][1]
	case c.Wave != nil:
		s := math.Sin(2 * math.Pi * t / c.Wave.Period)
		if c.Wave.Steep > 0 {
			s = math.Tanh(c.Wave.Steep*s) / math.Tanh(c.Wave.Steep)
		}
		return c.Wave.Low + (c.Wave.High-c.Wave.Low)*(1+s)/2
	case c.Bursts != nil:
		b := c.Bursts
		if since := second - b.After; since >= 0 && since%b.Every < b.For {
			return b.High
		}
		return b.Low
	}
	return c.Value
}

func between(line [][2]float64, t float64) float64 {
	i := sort.Search(len(line), func(i int) bool { return line[i][0] > t })
	if i == 0 {
		return line[0][1]
	}
	if i == len(line) {
		return line[i-1][1]
	}
	a, b := line[i-1], line[i]
	return a[1] + (b[1]-a[1])*(t-a[0])/(b[0]-a[0])
}
