package delivery

import "time"

// Access is what somebody may do. Each level holds all below it.
type Access string

// The levels of access.
const (
	Nobody   Access = ""
	Reader   Access = "reader"   // sees everything that is no secret
	Deployer Access = "deployer" // and takes changes through the environments and back
	Admin    Access = "admin"    // and says what the project is and who may do what
)

// Accesses lists the levels from the least to the most.
func Accesses() []Access { return []Access{Reader, Deployer, Admin} }

// Allows reports whether a is at least need.
func (a Access) Allows(need Access) bool { return a.rank() >= need.rank() }

func (a Access) rank() int {
	switch a {
	case Reader:
		return 1
	case Deployer:
		return 2
	case Admin:
		return 3
	case Nobody:
	}
	return 0
}

// Words says the level with its article: "a deployer", "an admin".
func (a Access) Words() string {
	if a == Admin {
		return "an admin"
	}
	return "a " + string(a)
}

// Who is somebody who asks, as the ledger names them, and what they may do.
type Who struct {
	Name      string `json:"name"`
	Access    Access `json:"access"`
	Anonymous bool   `json:"anonymous,omitempty" doc:"nobody signed in; reading is open to all"`
}

// Token is a named right to ask. What opens it is known to its holder alone.
type Token struct {
	Name    string     `json:"name"`
	Access  Access     `json:"access" enum:"reader,deployer,admin"`
	By      string     `json:"by" doc:"who made it"`
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"used,omitempty" doc:"last time, give or take a minute"`
	Ends    *time.Time `json:"ends,omitempty" doc:"it opens nothing from then on"`
	Revoked *Revoked   `json:"revoked,omitempty"`
}

// Revoked says who took a token back, and when.
type Revoked struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// InForce reports whether the token opens anything at now.
func (t Token) InForce(now time.Time) bool {
	return t.Revoked == nil && (t.Ends == nil || now.Before(*t.Ends))
}

// Right is one thing that can be asked of the API, and who may ask it.
type Right struct {
	What  string `json:"what"`  // for people: "Submit a change"
	Route string `json:"route"` // "POST /changes"
	Need  Access `json:"need"`  // Nobody: whoever reaches the server
}
