// Package certs proves to callers who a listener is: by PEM files, read again when
// they change, or by ACME (RFC 8555), got and renewed behind the listener's back. It
// opens no port and carries no request; a real certificate authority judges it.
//
// A proof serves as soon as it has a certificate, and says in State what it waits
// for until then. What is broken never takes the place of what works: a bad file,
// or an authority that refuses, leaves the certificate in use that there is.
//
// TLS is 1.2 or later with the library's ciphers. OCSP responses are not stapled:
// the large authorities have given them up. With several certificates the name
// that a caller asks for (SNI) chooses; whoever asks for none gets the first.
package certs
