package analysis

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Who follows a tape part by part knows what who plays the whole of it knows, and
// is asked before each entry.
func TestFollowerKnowsWhatAReplayKnows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rec, err := Record(delivery.JudgePolicy{}, drawArm(r, 400, "baseline"))
		if err != nil {
			r.Fatal(err)
		}
		var parts [][]byte
		var follower Follower
		seen, before := 0, ""
		follow := func() {
			_, part := rec.Part()
			if part == nil {
				return
			}
			rec.Kept()
			parts = append(parts, part)
			err := follower.Read(part, func(j *Judge, _ Entry) {
				if now := words(r, j.Verdict()); seen == 0 && before != "" && now != before {
					r.Fatalf("before the first entry of a part the judge says %s, want %s", now, before)
				}
				seen++
			})
			if err != nil {
				r.Fatal(err)
			}
			seen, before = 0, words(r, follower.Judge().Verdict())
		}
		for second := range rapid.IntRange(1, 20).Draw(r, "seconds") {
			switch rapid.IntRange(0, 5).Draw(r, "what") {
			case 0:
				rec.NextStep()
			case 1:
				rec.LeaveOut(int64(second), "the split changed in it")
			default:
				_ = rec.Observe(drawRich(r, int64(second)))
			}
			if rapid.Bool().Draw(r, "part") {
				follow()
			}
		}
		follow()
		if follower.Parts() != len(parts) {
			r.Fatalf("Parts = %d, want %d", follower.Parts(), len(parts))
		}
		whole, err := Play(parts, func(*Judge, Entry) {})
		if err != nil {
			r.Fatal(err)
		}
		if a, b := words(r, follower.Judge().Verdict()), words(r, whole.Verdict()); a != b {
			r.Fatalf("the follower says %s, want %s", a, b)
		}
	})
}

func TestFollowerRefusesWhatIsNotTheNextPart(t *testing.T) {
	rec, err := Record(delivery.JudgePolicy{}, Arm{})
	if err != nil {
		t.Fatal(err)
	}
	_, first := rec.Part()
	var f Follower
	if err := f.Read(first, func(*Judge, Entry) {}); err != nil {
		t.Fatal(err)
	}
	if err := f.Read(first, func(*Judge, Entry) {}); err == nil || f.Parts() != 1 {
		t.Errorf("the first part twice = %v, %d parts", err, f.Parts())
	}
}
