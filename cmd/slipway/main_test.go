package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-cd/slipway/internal/porttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slipway": main, "ask": ask})
}

// ask is what the scripts reach services with: ask METHOD URL BODY ["Name: value"]...
// It prints the status and the body, and ends with 0 for any answer.
func ask() {
	req, err := http.NewRequest(os.Args[1], os.Args[2], strings.NewReader(os.Args[3]))
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range os.Args[4:] {
		name, value, _ := strings.Cut(line, ": ")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	fmt.Println(res.StatusCode)
	if _, err := io.Copy(os.Stdout, res.Body); err != nil {
		log.Fatal(err)
	}
}

// The scripts are the specification of the command line: what is typed, what is
// printed, what the program ends with. Those that begin with up- start both
// processes, each with ports and a state folder of its own.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("testdata", "script"),
		Setup: prepare,
	})
}

// prepare gives a script its own state folder and free ports, and sees to it
// that what it starts is stopped.
func prepare(env *testscript.Env) error {
	state := filepath.Join(env.WorkDir, "state")
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("USER", "ann")
	env.Setenv("SLIPWAY_HOME", state)
	env.Setenv("NO_COLOR", "1")
	for _, name := range []string{"API", "DEV", "PROD"} {
		addr, release, err := porttest.Reserve()
		if err != nil {
			return err
		}
		env.Setenv(name, addr)
		env.Defer(release)
	}
	env.Defer(func() { stop(env, state) })
	return nil
}

// stop ends both processes and every instance of a state folder.
func stop(env *testscript.Env, state string) {
	if _, err := os.Stat(state); err != nil {
		return // nothing was started
	}
	if out, err := exec.Command("slipway", "down", "--state", state).CombinedOutput(); err != nil {
		env.T().Log(fmt.Sprintf("down: %v\n%s", err, out))
		for _, part := range []string{"server", "proxy"} {
			if log, err := os.ReadFile(filepath.Join(state, part+".log")); err == nil {
				env.T().Log(part + ".log:\n" + string(log))
			}
		}
		env.T().Fatal("what the script started could not be stopped")
	}
}
