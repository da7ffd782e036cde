package main

import (
	"context"
	"os"

	"golang.org/x/term"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/demo"
	"github.com/slipway-cd/slipway/internal/workload/process"
)

// world is what the process finds around it.
func world() cli.Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // it was removed below us; what needs it says so
	}
	return cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Vars: os.Getenv, Dir: dir, Terminal: terminal, Roof: roof(),
	}
}

// terminal reports whether a person sees both outputs, and how wide they are.
func terminal() (width int, present bool) {
	out, errs := int(os.Stdout.Fd()), int(os.Stderr.Fd())
	width, _, err := term.GetSize(out)
	if err != nil {
		width = 0
	}
	return width, term.IsTerminal(out) && term.IsTerminal(errs)
}

func roof() cli.Roof {
	house := demo.House{Up: app.Up, Down: app.Down}
	return cli.Roof{
		Server: app.Server, Proxy: app.Proxy, Shim: process.Shim, Up: app.Up, Down: app.Down, ProxyRuns: app.ProxyRuns, Socket: app.Socket, Listening: app.Listening, Version: app.Version,
		Demo: func(ctx context.Context, o cli.DemoOptions) (int, error) { return demo.Run(ctx, house, o) },
		DemoServe: func(ctx context.Context, name string) error {
			return demo.Serve(ctx, name, os.Getenv, os.Stdout)
		},
	}
}
