package delivery

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

// Who is somebody who asks, as the ledger names them, and what they may do.
type Who struct {
	Name   string `json:"name"`
	Access Access `json:"access"`
}
