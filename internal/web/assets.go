package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

// Vendored files are as their authors published them; vendored/README.md says where
// from, with their hashes. Static files are ours.
//
//go:embed static vendored
var assetFiles embed.FS

// files are what pages load. Each is found under a name with its hash, so that a
// browser keeps it for ever and never shows an old one.
type files map[string]file // by hashed name

type file struct {
	kind         string // media type
	plain, small []byte // as it is, and compressed
}

// gather reads the embedded files; what is embedded can be read.
func gather() files {
	out := files{}
	for name, content := range assets() {
		var small bytes.Buffer
		z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // the level is a valid one
		_, _ = z.Write(content)                                   // to memory
		_ = z.Close()
		out[hashed(name, content)] = file{kind: mime.TypeByExtension(path.Ext(name)), plain: content, small: small.Bytes()}
	}
	return out
}

// assets returns the embedded files by their base names.
var assets = sync.OnceValue(func() map[string][]byte {
	out := map[string][]byte{}
	for _, dir := range []string{"static", "vendored"} {
		entries, err := assetFiles.ReadDir(dir)
		if err != nil {
			panic(err) // the folder is embedded
		}
		for _, e := range entries {
			content, err := fs.ReadFile(assetFiles, path.Join(dir, e.Name()))
			if err != nil {
				panic(err)
			}
			switch path.Ext(e.Name()) {
			case ".js", ".css", ".svg":
				out[e.Name()] = content
			}
		}
	}
	return out
})

func hashed(name string, content []byte) string {
	sum := sha256.Sum256(content)
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
}

// asset returns where a file is found: {{asset "slipway.css"}}.
func asset(name string) (string, error) {
	content, ok := assets()[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %s", name)
	}
	return "/static/" + hashed(name, content), nil
}

// buildName names what pages are made of: a page that was made by another Slipway knows
// by it that there is a newer one.
var buildName = sync.OnceValue(func() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(assets())) {
		_, _ = sum.Write([]byte(hashed(name, assets()[name]))) // to a hash
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
})

// ServeHTTP answers with one file.
func (f files) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	file, ok := f[r.URL.Path]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	h := rw.Header()
	h.Set("Content-Type", file.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	content := file.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		content = file.small
	}
	_, _ = rw.Write(content) // a browser that is gone asks again
}

// templates returns all templates, parsed once.
func (*Web) templates() *template.Template { return parsed() }

var parsed = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(words()).ParseFS(templateFiles, "templates/*.html"))
})
