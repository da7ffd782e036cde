package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"time"
)

// Digest names content by its hash: "sha256:" and 64 hex digits.
type Digest string

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Short returns the first 12 hex digits, enough for a person to tell two apart.
func (d Digest) Short() string {
	const prefix = len("sha256:")
	if len(d) < prefix+12 {
		return string(d)
	}
	return string(d[prefix : prefix+12])
}

// ReleaseID names a release by the hash of its manifest: "r" and 16 hex digits.
type ReleaseID string

// Kind says what sort of thing a change alters. The kind picks the default
// plan, never another mechanism.
type Kind string

// The six kinds of change.
const (
	Code       Kind = "code"
	Config     Kind = "config"
	Flag       Kind = "flag"
	Experiment Kind = "experiment"
	Schema     Kind = "schema"
	Secret     Kind = "secret"
)

// Artifact is one content-addressed piece of a release. Ref is a version
// reference for kinds whose content may not be kept here (secrets).
type Artifact struct {
	Kind   Kind   `json:"kind"`
	Digest Digest `json:"digest,omitempty"`
	Ref    string `json:"ref,omitempty"`
}

// Release is the immutable manifest of all that one service runs with: code,
// configuration and, by reference, flags, secrets and schema version. Its id is
// its hash, so going back to a release restores every part of it.
type Release struct {
	ID        ReleaseID                    `json:"id"`
	Service   string                       `json:"service"`
	Version   string                       `json:"version"` // what people call it
	Artifacts []Artifact                   `json:"artifacts"`
	Run       RunSpec                      `json:"run"`
	Config    map[string]string            `json:"config,omitempty"`     // for every environment
	ConfigIn  map[string]map[string]string `json:"config_in,omitempty"`  // environment -> what differs there
	Created   time.Time                    `json:"created"`              // not part of the id
	CreatedBy string                       `json:"created_by,omitempty"` // not part of the id
}

// RunSpec is how an instance of a release is started, checked and stopped.
type RunSpec struct {
	Command  []string `json:"command"`
	Protocol Protocol `json:"protocol,omitempty"`
	Health   Health   `json:"health"`
	Stop     Stop     `json:"stop"`
	Limits   Limits   `json:"limits"`
	Needs    []Need   `json:"needs,omitempty"`
}

// Protocol is what an instance speaks on its port.
type Protocol string

// Protocols.
const (
	HTTP1 Protocol = ""    // HTTP/1.1
	H2C   Protocol = "h2c" // HTTP/2 without TLS, as gRPC servers do
)

// Need names a service that this one calls. AtLeast is the lowest version it
// can work with; empty means any.
type Need struct {
	Service string `json:"service"`
	AtLeast string `json:"at_least,omitempty"`
}

// Health says how an instance shows that it can take requests. At most one of
// HTTP, GRPC, TCP and Command is set; none means: the process runs.
type Health struct {
	HTTP     string        `json:"http,omitempty"`    // path; any 2xx is healthy
	GRPC     *string       `json:"grpc,omitempty"`    // service name asked of grpc.health.v1, "" for the whole server
	TCP      bool          `json:"tcp,omitempty"`     // the port accepts a connection
	Command  []string      `json:"command,omitempty"` // exit 0 is healthy; PORT is set
	Interval time.Duration `json:"interval"`          // between two probes
	Timeout  time.Duration `json:"timeout"`           // of one probe
	Rise     int           `json:"rise"`              // good probes in a row until ready
	Fall     int           `json:"fall"`              // bad probes in a row until not ready
}

// Stop says how an instance ends: traffic is drained for at most Drain, then
// SIGTERM, then SIGKILL after Grace.
type Stop struct {
	Drain time.Duration `json:"drain"`
	Grace time.Duration `json:"grace"`
}

// Limits bounds one instance. Zero means unbounded.
type Limits struct {
	MemoryBytes int64   `json:"memory_bytes,omitempty"`
	CPUs        float64 `json:"cpus,omitempty"` // 1 is one core
	OpenFiles   int     `json:"open_files,omitempty"`
	Processes   int     `json:"processes,omitempty"`
}

// Seal returns r with its id computed from everything but who made it and when.
func (r Release) Seal() Release {
	body := r
	body.ID, body.Created, body.CreatedBy = "", time.Time{}, ""
	b, err := json.Marshal(body)
	if err != nil {
		panic("delivery: a release is plain data and always marshals: " + err.Error())
	}
	sum := sha256.Sum256(b)
	r.ID = ReleaseID("r" + hex.EncodeToString(sum[:8]))
	return r
}

// ConfigFor returns the configuration of an instance in env, as environment variables.
func (r Release) ConfigFor(env string) map[string]string {
	out := maps.Clone(r.Config)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, r.ConfigIn[env])
	return out
}

// CodeDigest returns the digest of the code artifact, or "" if there is none.
func (r Release) CodeDigest() Digest {
	for _, a := range r.Artifacts {
		if a.Kind == Code {
			return a.Digest
		}
	}
	return ""
}

// Difference lists which kinds differ between two releases of a service, code first.
func Difference(from, to Release) []Kind {
	var kinds []Kind
	if from.CodeDigest() != to.CodeDigest() || !Same(from.Run, to.Run) {
		kinds = append(kinds, Code)
	}
	if !maps.Equal(from.Config, to.Config) || !maps.EqualFunc(from.ConfigIn, to.ConfigIn, maps.Equal) {
		kinds = append(kinds, Config)
	}
	for _, k := range []Kind{Flag, Experiment, Schema, Secret} {
		if artifactOf(from, k) != artifactOf(to, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func artifactOf(r Release, k Kind) Artifact {
	for _, a := range r.Artifacts {
		if a.Kind == k {
			return a
		}
	}
	return Artifact{}
}

// Same reports whether a and b are the same plain data.
func Same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Weight is a share of traffic in hundredths of a percent: 0 to 10000.
type Weight int

// Full is all the traffic.
const Full Weight = 10000

// Percent makes a Weight of whole percents.
func Percent(p int) Weight { return Weight(p * 100) }

// String prints w as people write it: "5 %", "0.25 %".
func (w Weight) String() string {
	return strconv.FormatFloat(float64(w)/100, 'f', -1, 64) + " %"
}
