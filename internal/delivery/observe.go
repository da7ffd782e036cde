package delivery

import (
	"net/url"
	"strings"
)

// Prometheus is a server that answers PromQL: Prometheus, or another that speaks
// its HTTP API. Metrics with FromPrometheus are asked of it. The zero value is none.
type Prometheus struct {
	URL          string `json:"url,omitempty"`           // base of its API, "http://127.0.0.1:9090"
	TokenFile    string `json:"token_file,omitempty"`    // absolute path of a file with a bearer token; read again for each question
	User         string `json:"user,omitempty"`          // of basic authentication
	PasswordFile string `json:"password_file,omitempty"` // absolute path
	CAFile       string `json:"ca_file,omitempty"`       // absolute path of the authority of its certificate, PEM; empty is the system's
}

// Check refuses a server that could not be asked, as DataPlane.Check does.
func (p Prometheus) Check(field string) error {
	if p == (Prometheus{}) {
		return nil
	}
	if p.URL == "" {
		return InvalidNext(field+".url", "the address of the server is missing", "say url: http://127.0.0.1:9090")
	}
	if err := address(field+".url", p.URL, "http", "https"); err != nil {
		return err
	}
	u, err := url.Parse(p.URL)
	switch {
	case err != nil:
		return Invalid(field+".url", err.Error())
	case u.User != nil:
		return InvalidNext(field+".url", "a secret in an address ends up in logs", "say user and password_file, or token_file")
	case u.RawQuery != "" || u.Fragment != "":
		return InvalidNext(field+".url", "it is the base of the API and has no query", "say url: "+u.Scheme+"://"+u.Host+u.Path)
	case p.TokenFile != "" && p.User != "":
		return InvalidNext(field+".token_file", "a token and a user are two ways to say who asks", "remove one")
	case (p.User == "") != (p.PasswordFile == ""):
		return InvalidNext(field+".user", "user and password_file belong together", "say both")
	case strings.ContainsAny(p.User, ":\r\n"):
		return Invalid(field+".user", "holds a character that no user of basic authentication has")
	case p.CAFile != "" && u.Scheme != "https":
		return InvalidNext(field+".ca_file", "only https has certificates", "say https in url, or remove it")
	}
	return nil
}
