package manifest

import "github.com/slipway-cd/slipway/internal/delivery"

type prometheusDoc struct {
	URL          *string `json:"url,omitempty" jsonschema_description:"Base of its API, such as http://127.0.0.1:9090."`
	TokenFile    *string `json:"token_file,omitempty" jsonschema_description:"File with a bearer token, relative to this file. It is read for each question. Default: none is shown."`
	User         *string `json:"user,omitempty" jsonschema_description:"User of basic authentication."`
	PasswordFile *string `json:"password_file,omitempty" jsonschema_description:"File with the password of user, relative to this file."`
	CAFile       *string `json:"ca_file,omitempty" jsonschema_description:"PEM file of the authority that the server's certificate is of, relative to this file. Default: those of the system."`
}

// prometheus notes what is wrong with the form of the words.
func (d *decoder) prometheus(at string, p *prometheusDoc) {
	if p == nil {
		return
	}
	d.filled(at+".url", p.URL, "say http://127.0.0.1:9090")
	d.filled(at+".token_file", p.TokenFile, "name a file, or remove it")
	d.filled(at+".user", p.User, "say who asks, or remove it")
	d.filled(at+".password_file", p.PasswordFile, "name a file, or remove it")
	d.filled(at+".ca_file", p.CAFile, "name a file, or remove it")
}

func (s *resolver) prometheus(doc *prometheusDoc) delivery.Prometheus {
	const at = "prometheus"
	if doc == nil {
		doc = &prometheusDoc{}
	}
	file := func(name string, v *string) string {
		if p := told(s, at+name, v); p != "" {
			return s.path(p)
		}
		return ""
	}
	p := delivery.Prometheus{
		URL:          told(s, at+".url", doc.URL),
		TokenFile:    file(".token_file", doc.TokenFile),
		User:         told(s, at+".user", doc.User),
		PasswordFile: file(".password_file", doc.PasswordFile),
		CAFile:       file(".ca_file", doc.CAFile),
	}
	s.refused(p.Check(at))
	return p
}

func (e *explainer) prometheus(p delivery.Prometheus) {
	const at = "prometheus"
	e.say(at+".url", orNone(p.URL))
	if p.URL == "" {
		return
	}
	e.say(at+".token_file", orNone(p.TokenFile))
	e.say(at+".user", orNone(p.User))
	e.say(at+".password_file", orNone(p.PasswordFile))
	e.say(at+".ca_file", textOr(p.CAFile == "", "those of the system", p.CAFile))
}
