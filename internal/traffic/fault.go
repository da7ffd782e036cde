package traffic

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// faultID is what goes into a path, a header and a series' name as it is.
var faultID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Validate refuses a fault that is out of bounds, does nothing, or does two
// things that exclude each other. The error is a *delivery.FieldError. Whether
// its route is there, an engine says.
func (f Fault) Validate() error {
	switch {
	case !faultID.MatchString(f.ID):
		return delivery.Invalid("id", strconv.Quote(f.ID)+" is not 1 to 64 letters, digits and ._- that begin with a letter or digit")
	case f.Route == "":
		return delivery.InvalidNext("route", "is missing", "name the route that is to be disturbed, such as prod/cart")
	case f.Share <= 0 || f.Share > MaxFaultShare:
		return delivery.Invalid("share", fmt.Sprintf("is %s; it must lie above 0 and at most at %s", f.Share, MaxFaultShare))
	case f.Lease <= 0 || f.Lease > MaxFaultLease:
		return delivery.InvalidNext("lease", fmt.Sprintf("is %s; it must lie above 0 and at most at %s", f.Lease, MaxFaultLease), "renew the fault while it shall last")
	case f.Delay < 0 || f.Delay > MaxFaultDelay:
		return delivery.Invalid("delay", fmt.Sprintf("is %s; it must lie between 0 and %s", f.Delay, MaxFaultDelay))
	case f.Abort != 0 && (f.Abort < 400 || f.Abort > 599):
		return delivery.Invalid("abort", fmt.Sprintf("is %d, not a status from 400 to 599", f.Abort))
	case f.Slow < 0:
		return delivery.Invalid("slow", fmt.Sprintf("is %d; it is bytes a second", f.Slow))
	case f.Cut < -1:
		return delivery.Invalid("cut", fmt.Sprintf("is %d; it is bytes, or -1 for none", f.Cut))
	}
	does := f.effects()
	switch {
	case len(does) > 1:
		return delivery.InvalidNext(does[1], "excludes "+does[0]+"; only a delay can be joined with another effect", "make two faults of it")
	case len(does) == 0 && f.Delay == 0:
		return delivery.Invalid("fault", "does nothing: set one of delay, abort, reset, slow and cut")
	}
	return delivery.CheckConditions("when", f.When)
}

// effects names what f does, but for its delay.
func (f Fault) effects() []string {
	var does []string
	if f.Abort != 0 {
		does = append(does, "abort")
	}
	if f.Reset {
		does = append(does, "reset")
	}
	if f.Slow != 0 {
		does = append(does, "slow")
	}
	if f.Cut != 0 {
		does = append(does, "cut")
	}
	return does
}

// Does says what a fault does, and to what: "abort with 503, 5 % of prod/cart".
func (f Fault) Does() string {
	var does []string
	if f.Delay > 0 {
		does = append(does, "delay by "+f.Delay.String())
	}
	switch {
	case f.Abort != 0:
		does = append(does, "abort with "+strconv.Itoa(f.Abort))
	case f.Reset:
		does = append(does, "reset")
	case f.Slow > 0:
		does = append(does, fmt.Sprintf("slow to %d B/s", f.Slow))
	case f.Cut > 0:
		does = append(does, fmt.Sprintf("cut after %d B", f.Cut))
	case f.Cut < 0:
		does = append(does, "cut after the head")
	}
	return strings.Join(does, ", then ") + ", " + f.Share.String() + " of " + f.Route
}
