package certstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"
)

// message is a signed request (RFC 8555, 6.2).
type message struct {
	key     jwk
	payload []byte
}

// jwk is a public key on P-256 (RFC 7518, 6.2).
type jwk struct {
	Crv string `json:"crv"`
	Kty string `json:"kty"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

// thumbprint is RFC 7638's.
func (k jwk) thumbprint() string {
	b, _ := json.Marshal(k) // its fields are in the order that is asked for
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// verify checks an ES256 signature (RFC 7518, 3.4).
func (k jwk) verify(text, signature []byte) error {
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	if errX != nil || errY != nil || k.Crv != "P-256" || len(signature) != 64 {
		return errors.New("not an ES256 signature")
	}
	point := append([]byte{4}, append(leftPad(x), leftPad(y)...)...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func leftPad(b []byte) []byte { return append(make([]byte, 32-min(len(b), 32)), b...) }

// signed checks signature, nonce and URL before next sees a request.
func (a *Authority) signed(next func(http.ResponseWriter, *http.Request, message)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.fresh(w)
		m, err := a.open(r)
		if err != nil {
			refuse(w, http.StatusBadRequest, "malformed", err.Error())
			return
		}
		next(w, r, m)
	}
}

func (a *Authority) open(r *http.Request) (message, error) {
	var in struct{ Protected, Payload, Signature string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return message{}, err
	}
	head, err1 := base64.RawURLEncoding.DecodeString(in.Protected)
	payload, err2 := base64.RawURLEncoding.DecodeString(in.Payload)
	signature, err3 := base64.RawURLEncoding.DecodeString(in.Signature)
	var p struct {
		Alg, Nonce, URL, Kid string
		JWK                  *jwk
	}
	if err := errors.Join(err1, err2, err3, json.Unmarshal(head, &p)); err != nil {
		return message{}, err
	}
	a.mu.Lock()
	known := a.nonces[p.Nonce]
	delete(a.nonces, p.Nonce)
	key := a.keys[p.Kid]
	a.mu.Unlock()
	if p.JWK != nil {
		key = *p.JWK
	}
	if !known || p.URL != a.server.URL+r.URL.Path || p.Alg != "ES256" {
		return message{}, fmt.Errorf("nonce known: %v, URL %q, algorithm %q", known, p.URL, p.Alg)
	}
	return message{key, payload}, key.verify([]byte(in.Protected+"."+in.Payload), signature)
}

// overHTTP is RFC 8555, 8.3.
func overHTTP(addr, name, token, authorization string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/.well-known/acme-challenge/"+token, nil)
	if err != nil {
		return err
	}
	req.Host = name
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return err
	}
	if string(bytes.TrimSpace(b)) != authorization {
		return fmt.Errorf("answered %s %q", res.Status, b)
	}
	return nil
}

// overTLS is RFC 8737, 3.
func overTLS(addr, name, authorization string) error {
	d := net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(&d, "tcp", addr, &tls.Config{
		ServerName: name, NextProtos: []string{"acme-tls/1"},
		InsecureSkipVerify: true, // the certificate is the answer
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	leaf := state.PeerCertificates[0]
	if state.NegotiatedProtocol != "acme-tls/1" || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != name {
		return fmt.Errorf("protocol %q, names %v", state.NegotiatedProtocol, leaf.DNSNames)
	}
	sum := sha256.Sum256([]byte(authorization))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	for _, e := range leaf.Extensions {
		if e.Critical && e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && bytes.Equal(e.Value, want) {
			return nil
		}
	}
	return errors.New("the certificate does not answer the challenge")
}
