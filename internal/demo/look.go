package demo

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Interpreter is a language's program on this machine. A zero one is missing.
type Interpreter struct {
	Path    string // absolute; "" when there is none that will do
	Version string // "20.20.2"; of one that is too old, too
	Why     string // it will not do
}

// Interpreters is what was found. Where one is missing its service runs as the built-in Go twin.
type Interpreters struct {
	Node   Interpreter // at least 18
	Python Interpreter // at least 3.9
}

// lookLimit is the longest wait for an interpreter to say its version.
const lookLimit = 10 * time.Second

// Look finds the interpreters of the demo on the PATH.
func Look(ctx context.Context) Interpreters {
	return Interpreters{
		Node:   find(ctx, "node", 18, 0),
		Python: find(ctx, "python3", 3, 9),
	}
}

// Language says what a service of the demo is run as: "go", "node" or "python".
func (i Interpreters) Language(service string) string {
	switch {
	case service == "catalog" && i.Node.Path != "":
		return "node"
	case service == "pricing" && i.Python.Path != "":
		return "python"
	}
	return "go"
}

// find looks for a program that says at least version major.minor of itself.
func find(ctx context.Context, name string, major, minor int) Interpreter {
	path, err := exec.LookPath(name)
	if err != nil {
		return Interpreter{Why: "no " + name + " on the PATH"}
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Interpreter{Why: fmt.Sprintf("%s --version: %v", path, err)}
	}
	m := regexp.MustCompile(`(\d+)\.(\d+)(\.\d+)*`).FindStringSubmatch(string(out))
	if m == nil {
		return Interpreter{Why: path + " does not say its version"}
	}
	x, _ := strconv.Atoi(m[1]) // digits only; one too large to hold is the largest int
	y, _ := strconv.Atoi(m[2])
	if x < major || x == major && y < minor {
		return Interpreter{Version: m[0], Why: fmt.Sprintf("%s is %s; %d.%d is the oldest that will do", path, m[0], major, minor)}
	}
	return Interpreter{Path: path, Version: m[0]}
}
