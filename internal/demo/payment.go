package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// A bank answers most charges at once and a tenth of them in 20 to 40 ms, so a
// timeout below 20 ms looks like a saving and loses a tenth of the charges.
const (
	slowBank    = 0.10
	slowBankMin = 20 * time.Millisecond
	slowBankMax = 40 * time.Millisecond
)

// buildPayment makes the service that charges: POST /charge {"cents": 1250}. It
// reads BANK_TIMEOUT_MS, 800 by default.
func buildPayment(s *service, env func(string) string) error {
	text := env("BANK_TIMEOUT_MS")
	if text == "" {
		text = "800"
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 1 || ms > 60_000 {
		return delivery.Invalid("BANK_TIMEOUT_MS", fmt.Sprintf("must be from 1 to 60000, not %q", text))
	}
	timeout := time.Duration(ms) * time.Millisecond
	late := newEven()
	s.ops = map[string]operation{"POST /charge": func(ctx context.Context, v *visit) (reply, error) {
		var in struct {
			Cents int `json:"cents"`
		}
		if err := json.NewDecoder(v.in.Body).Decode(&in); err != nil || in.Cents <= 0 {
			return nil, &failure{status: http.StatusBadRequest, message: "cents: must be a whole number above 0"}
		}
		if bank := bankTook(late); bank > timeout {
			if err := wait(ctx, timeout); err != nil {
				return nil, err
			}
			return nil, &failure{status: http.StatusGatewayTimeout, message: fmt.Sprintf("bank timed out after %d ms", ms)}
		} else if err := wait(ctx, bank); err != nil {
			return nil, err
		}
		return reply{"charged_cents": in.Cents, "receipt": fmt.Sprintf("%08x", rand.Uint32())}, nil
	}}
	return nil
}

// bankTook draws how long the bank needs for one charge; late says which are slow.
func bankTook(late *even) time.Duration {
	if !late.next(slowBank) {
		return 0
	}
	return slowBankMin + rand.N(slowBankMax-slowBankMin)
}
