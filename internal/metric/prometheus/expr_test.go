package prometheus

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestExpand(t *testing.T) {
	w := words{
		text:      map[string]string{"service": "shop", "env": "prod", "release": `r"1\`, "version": "v1.2", "step": "15s"},
		instances: []string{"a.1", "b"},
	}
	for _, c := range []struct{ in, want, wrong string }{
		{`x{s="$service",e='$env'}`, `x{s="shop",e='prod'}`, ""},
		{`rate(x{r="$release"}[$step])`, `rate(x{r="r\"1\\"}[15s])`, ""},
		{`x{r='$release'}`, `x{r='r"1\\'}`, ""},
		{"x{r=`$release`}", "x{r=`r\"1\\`}", ""},
		{`x{v=~"$version"}`, `x{v=~"v1\\.2"}`, ""},
		{"x{v =~ `$version|5..$`}", "x{v =~ `v1\\.2|5..$`}", ""},
		{`x{v!~'$version'}`, `x{v!~'v1\\.2'}`, ""},
		{`x{i=~"$instances"}`, `x{i=~"(?:a\\.1|b)"}`, ""},
		{`x{code=~"5..$"}`, `x{code=~"5..$"}`, ""},
		{`x{a="\"$service"}`, `x{a="\"shop"}`, ""},
		{`x{a="$services"}`, `x{a="$services"}`, ""},
		{"x # $release\n", "x", ""},
		{`x{a="$instances"}`, "", "several"},
		{`x{a=$release}`, "", "outside of a string"},
		{`$service_total`, "", "outside of a string"},
		{`x{a="b`, "", "no end"},
	} {
		got, err := w.expand(c.in)
		if c.wrong == "" && (err != nil || got != c.want) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("expand(%s) = %s, %v; want %s %s", c.in, got, err, c.want, c.wrong)
		}
	}
	w.text["release"] = "a`b"
	if got, err := w.expand("x{r=`$release`}"); err == nil {
		t.Errorf("expand = %s, want it to be refused", got)
	}
	if err := Check(`x{a=$release}`); err == nil {
		t.Error("Check takes a word outside of a string")
	}
}

// Whatever a release is called, the string that it stands in holds it and ends
// where it did; as a regular expression it means itself.
func TestNamesStayNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching("[\"'`\\\\\n{}$|.*a]{0,12}")).Draw(t, "name")
		w := words{text: map[string]string{"release": name}}
		plain, err := w.expand(`x{r="$release"}`)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := strconv.Unquote(plain[len(`x{r=`) : len(plain)-1]); err != nil || got != name {
			t.Fatalf("%q became %s, which is %q (%v)", name, plain, got, err)
		}
		if _, ok := selectorOf(plain); !ok {
			t.Fatalf("%s is no selector any more", plain)
		}
		matching, err := w.expand(`x{r=~"$release"}`)
		if err != nil {
			t.Fatal(err)
		}
		pattern, err := strconv.Unquote(matching[len(`x{r=~`) : len(matching)-1])
		if err != nil {
			t.Fatal(err)
		}
		re, err := regexp.Compile("^(?s:" + pattern + ")$")
		if err != nil || !re.MatchString(name) || re.MatchString(name+"x") {
			t.Fatalf("%q became the pattern %q (%v)", name, pattern, err)
		}
	})
}

func TestSelectorOf(t *testing.T) {
	for in, want := range map[string]string{
		`x`: `x{}`, `a:b_c1`: `a:b_c1{}`, `x{}`: `x{}`, `x { a = "}" , }`: `x{a = "}" }`, `{__name__="x"}`: `{__name__="x"}`,
		"x{a='\\'}', b=`}`}": "x{a='\\'}', b=`}`}",
	} {
		got, ok := selectorOf(in)
		if !ok || strings.ReplaceAll(got.String(), " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("selectorOf(%s) = %s, %v; want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{`sum(x)`, `x{}[5m]`, `x offset 5m`, `x + y`, `5`, ``, `x{a="b"`, `x{a="b"} / y{}`, `x{a="}`} {
		if got, ok := selectorOf(in); ok {
			t.Errorf("selectorOf(%s) = %s, want none", in, got)
		}
	}
}
