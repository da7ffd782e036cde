package delivery_test

import (
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestStepString(t *testing.T) {
	test := []string{"./check"}
	for _, c := range []struct {
		step delivery.Step
		want string
	}{
		{delivery.Step{Do: delivery.DoStart, New: 2}, "start 2"},
		{delivery.Step{Do: delivery.DoStart, New: 2, Preview: true}, "start 2 on the preview route"},
		{delivery.Step{Do: delivery.DoStart, New: 2, Preview: true, Test: test}, "start 2 on the preview route, then test"},
		{delivery.Step{Do: delivery.DoStart, New: 2, Preview: true, Test: test, Approve: true}, "start 2 on the preview route, then test, then approval"},
		{delivery.Step{Do: delivery.DoWeight, Weight: 25}, "0.25 %"},
		{delivery.Step{Do: delivery.DoWeight, Weight: 500, Hold: 10 * time.Second}, "5 % for 10s"},
		{delivery.Step{Do: delivery.DoWeight, Weight: 500, Proven: true}, "5 % until proven"},
		{delivery.Step{Do: delivery.DoWeight, Weight: 500, Hold: 90 * time.Second, Proven: true, Max: time.Hour}, "5 % for 1m30s and until proven"},
		{delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full, Approve: true}, "100 %, then approval"},
		{delivery.Step{Do: delivery.DoApprove, Approve: true}, "approve"},
		{delivery.Step{Do: delivery.DoTest, Test: test}, "test"},
		{delivery.Step{Do: delivery.DoExpand}, "expand"},
		{delivery.Step{Do: delivery.DoMatch}, "match"},
		{delivery.Step{Do: delivery.DoMirror}, "mirror"},
		{delivery.Step{Do: delivery.DoHold, Hold: time.Minute}, "hold for 1m"},
		{delivery.Step{Do: delivery.DoAnalyse, Proven: true}, "analyse until proven"},
		{delivery.Step{Do: delivery.DoPromote}, "promote"},
		{delivery.Step{Do: delivery.DoContract}, "contract"},
	} {
		if got := c.step.String(); got != c.want {
			t.Errorf("String(%+v) = %q, want %q", c.step, got, c.want)
		}
	}
}

func TestPlanString(t *testing.T) {
	weight := func(p int) delivery.Step { return delivery.Step{Do: delivery.DoWeight, Weight: delivery.Percent(p)} }
	for _, c := range []struct {
		plan delivery.Plan
		want string
	}{
		{delivery.Plan{Strategy: delivery.Recreate}, "recreate"},
		{delivery.Plan{Strategy: delivery.Canary, Steps: []delivery.Step{weight(5), weight(25), weight(100)}}, "canary · 5 % · 25 % · 100 %"},
		{delivery.Plan{Strategy: delivery.BlueGreen, Steps: []delivery.Step{{Do: delivery.DoStart, New: 2}, {Do: delivery.DoTest}, weight(100)}}, "blue-green · start · test · 100 %"},
	} {
		if got := c.plan.String(); got != c.want {
			t.Errorf("String = %q, want %q", got, c.want)
		}
	}
}
