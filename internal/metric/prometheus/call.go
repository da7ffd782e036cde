package prometheus

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of one question.
const (
	callTime  = 10 * time.Second
	maxBody   = 32 << 20
	maxSeries = 10_000 // of one release; a selector of more was not meant
	maxSecret = 64 << 10
)

// errTooMuch is the answer to a question that nobody should ask.
var errTooMuch = errors.New("selects too much")

// Driver asks one server. It is safe for concurrent use; make it with New.
type Driver struct {
	at     delivery.Prometheus
	base   string
	client *http.Client
	now    func() time.Time
}

// New returns a driver for a server. It reads the file of its certificate
// authority, if one is named, and asks nothing yet.
func New(at delivery.Prometheus) (*Driver, error) {
	if err := at.Check("prometheus"); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: callTime, ForceAttemptHTTP2: true,
	}
	if at.CAFile != "" {
		pem, err := os.ReadFile(at.CAFile)
		if err != nil {
			return nil, fmt.Errorf("metric/prometheus: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, delivery.InvalidNext("prometheus.ca_file", "there is no certificate in it", "name a PEM file")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Driver{
		at: at, base: strings.TrimRight(at.URL, "/"), now: time.Now,
		client: &http.Client{
			Transport: transport,
			// A redirect would make a GET of our POST, and take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close lets go of idle connections.
func (d *Driver) Close() { d.client.CloseIdleConnections() }

// sample is one value of a series, or one native histogram.
type sample struct {
	at    int64 // Unix milliseconds
	value float64
	hist  *native
}

// series is one time series of an answer, in the order of time.
type series struct {
	labels  map[string]string
	samples []sample
}

// target is the instance that a series was scraped from, as far as labels tell.
func (s *series) target() string { return s.labels["job"] + "\x00" + s.labels["instance"] }

// window is a stretch of time that is asked for.
type window struct{ from, to int64 } // Unix seconds, both included

// samples reads what was scraped of a selector.
func (d *Driver) samples(ctx context.Context, sel selector, in window) (answer, error) {
	return d.ask(ctx, call{"/api/v1/query", url.Values{
		"query": {sel.String() + "[" + strconv.FormatInt(in.to-in.from, 10) + "s]"},
		"time":  {strconv.FormatInt(in.to, 10)},
	}, maxBody})
}

// values evaluates any expression at each step of a window.
func (d *Driver) values(ctx context.Context, expr string, in window, step int64) (answer, error) {
	return d.ask(ctx, call{"/api/v1/query_range", url.Values{
		"query": {expr},
		"start": {strconv.FormatInt(in.from, 10)}, "end": {strconv.FormatInt(in.to, 10)},
		"step":           {strconv.FormatInt(step, 10)},
		"lookback_delta": {strconv.FormatInt(stale*step, 10) + "s"}, // servers that do not know it ignore it
	}, maxBody})
}

// call is one question to the server.
type call struct {
	path string
	form url.Values
	most int // bytes of the answer
}

// answer is what a server said.
type answer struct {
	series   []series
	warnings []string
}

func (d *Driver) ask(ctx context.Context, c call) (answer, error) {
	c.form.Set("timeout", callTime.String())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+c.path, strings.NewReader(c.form.Encode()))
	if err != nil {
		return answer{}, fmt.Errorf("metric/prometheus: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "slipway")
	if err := d.identify(req); err != nil {
		return answer{}, err
	}
	res, err := d.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("metric/prometheus: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(c.most)+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("metric/prometheus: %s: %w", d.at.URL, err)
	case len(body) > c.most:
		return answer{}, fmt.Errorf("%w: the answer is longer than %d MiB", errTooMuch, c.most>>20)
	}
	return d.understand(res, body)
}

// identify shows who asks. Files are read each time, since tokens expire.
func (d *Driver) identify(req *http.Request) error {
	switch {
	case d.at.TokenFile != "":
		token, err := secret(d.at.TokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case d.at.User != "":
		password, err := secret(d.at.PasswordFile)
		if err != nil {
			return err
		}
		req.SetBasicAuth(d.at.User, password)
	}
	return nil
}

func secret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("metric/prometheus: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("metric/prometheus: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("metric/prometheus: %s holds no secret of one line", path)
	}
	return text, nil
}

// reply is the envelope of every answer of the API.
type reply struct {
	Status    string   `json:"status"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Data      struct {
		Type   string `json:"resultType"`
		Result []struct {
			Labels     map[string]string `json:"metric"`
			Values     []point           `json:"values"`
			Histograms []nativePoint     `json:"histograms"`
		} `json:"result"`
	} `json:"data"`
}

func (d *Driver) understand(res *http.Response, body []byte) (answer, error) {
	var r reply
	if err := json.Unmarshal(body, &r); err != nil {
		return answer{}, fmt.Errorf("metric/prometheus: %s answers %s and not what Prometheus does: %w", d.at.URL, res.Status, err)
	}
	if r.Status != "success" || res.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("metric/prometheus: %s answers %s: %w", d.at.URL, res.Status, &answerError{res.StatusCode, r.ErrorType + ": " + r.Error})
	}
	if r.Data.Type != "matrix" {
		return answer{}, fmt.Errorf("metric/prometheus: %s answers a %q where a matrix was asked for", d.at.URL, r.Data.Type)
	}
	if len(r.Data.Result) > maxSeries {
		return answer{}, fmt.Errorf("%w: %d series, and %d are the most", errTooMuch, len(r.Data.Result), maxSeries)
	}
	a := answer{warnings: r.Warnings}
	for _, one := range r.Data.Result {
		s := series{labels: one.Labels}
		for _, p := range one.Values {
			s.samples = append(s.samples, sample{at: p.at, value: p.value})
		}
		for _, p := range one.Histograms {
			s.samples = append(s.samples, sample{at: p.at, hist: &p.native})
		}
		if len(one.Values) > 0 && len(one.Histograms) > 0 { // it changed its form
			slices.SortFunc(s.samples, func(a, b sample) int { return cmp.Compare(a.at, b.at) })
		}
		for i := 1; i < len(s.samples); i++ {
			if s.samples[i].at <= s.samples[i-1].at {
				return answer{}, fmt.Errorf("metric/prometheus: %s answers samples that are not in the order of time", d.at.URL)
			}
		}
		a.series = append(a.series, s)
	}
	return a, nil
}

// answerError is what a server said in place of an answer.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// point is [seconds, "value"].
type point struct {
	at    int64
	value float64
}

// UnmarshalJSON reads a pair. NaN and the infinities are values, too.
func (p *point) UnmarshalJSON(b []byte) error {
	at, value, ok := bytes.Cut(bytes.Trim(b, "[] \n\t"), []byte(","))
	if !ok {
		return fmt.Errorf("%q is not a time and a value", b)
	}
	t, err := strconv.ParseFloat(string(bytes.TrimSpace(at)), 64)
	if err != nil || t < 0 || t > 1e11 {
		return fmt.Errorf("%q is not a time", at)
	}
	p.at = int64(t*1e3 + 0.5)
	p.value, err = strconv.ParseFloat(string(bytes.Trim(value, `" `)), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is not a value", value)
	}
	return nil
}
