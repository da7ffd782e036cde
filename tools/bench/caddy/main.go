// Command caddy is Caddy 2 with its reverse proxy and nothing else. It serves
// by the JSON configuration file that is its only argument until it is killed.
package main

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "caddy: give it one JSON configuration file")
		os.Exit(2)
	}
	config, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = caddy.Load(config, false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "caddy:", err)
		os.Exit(1)
	}
	select {}
}
