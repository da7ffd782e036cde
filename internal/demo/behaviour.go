package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// behaviourFile is the file of a bundle that says how its version behaves.
const behaviourFile = "version.json"

// Behaviour is how one version of a service answers: version.json of its bundle.
// The health check knows nothing of it, so a version may be bad and look healthy.
type Behaviour struct {
	Version    string  `json:"version"`
	Note       string  `json:"note,omitempty"`        // for people
	WorkMS     float64 `json:"work_ms"`               // median time of one operation; lognormal with sigma 0.5
	Fail       float64 `json:"fail"`                  // share of operations that fail, 0 to 1
	Status     int     `json:"status,omitempty"`      // of a failure, 500 to 599; 0 means 503
	Error      string  `json:"error,omitempty"`       // of a failure; "" means "no free worker"
	DelayMS    float64 `json:"delay_ms"`              // added to a share of operations, 0 to 60000
	DelayShare float64 `json:"delay_share,omitempty"` // that share, 0 to 1
	Empty      float64 `json:"empty,omitempty"`       // share of pricing's answers that are quick, 200, and lack every price, 0 to 1
}

// readBehaviour reads version.json of a bundle.
func readBehaviour(bundle string) (Behaviour, error) {
	var b Behaviour
	text, err := os.ReadFile(filepath.Join(bundle, behaviourFile))
	if err != nil {
		return b, fmt.Errorf("demo: read behaviour: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return b, fmt.Errorf("demo: %s: %w", behaviourFile, err)
	}
	if b.Status == 0 {
		b.Status = 503
	}
	if b.Error == "" {
		b.Error = "no free worker"
	}
	return b, b.validate()
}

func (b Behaviour) validate() error {
	switch {
	case b.Version == "":
		return delivery.Invalid("version", "must name the version")
	case !share(b.Fail):
		return delivery.Invalid("fail", "must be a share from 0 to 1")
	case !share(b.Empty):
		return delivery.Invalid("empty", "must be a share from 0 to 1")
	case !share(b.DelayShare):
		return delivery.Invalid("delay_share", "must be a share from 0 to 1")
	case b.Status < 500 || b.Status > 599:
		return delivery.Invalid("status", "must be from 500 to 599")
	case !(b.DelayMS >= 0 && b.DelayMS <= 60_000):
		return delivery.Invalid("delay_ms", "must be from 0 to 60000")
	case !(b.WorkMS >= 0 && b.WorkMS <= 1_000):
		return delivery.Invalid("work_ms", "must be from 0 to 1000")
	}
	return nil
}

func share(x float64) bool { return x >= 0 && x <= 1 }

// took draws the time of one operation. The lognormal is cut at eight times its median.
func (b Behaviour) took() time.Duration {
	ms := b.WorkMS * min(8, math.Exp(rand.NormFloat64()*0.5))
	if b.DelayShare > 0 && rand.Float64() < b.DelayShare {
		ms += b.DelayMS
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// even spreads what happens to a share of operations evenly over them. Chance says
// with which it begins, and not how many there are: a bad version of the demo is
// never good for a while, nor a good one bad.
type even struct {
	mu   sync.Mutex
	owed float64 // of the next, from 0 to 1
}

func newEven() *even { return &even{owed: rand.Float64()} }

// next says whether it happens to the next operation.
func (e *even) next(share float64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owed += share
	if e.owed < 1 {
		return false
	}
	e.owed--
	return true
}
