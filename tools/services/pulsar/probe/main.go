// Command probe asks a Pulsar broker whether it answers, and sends messages through it and back.
// It is the readiness test and the smoke test of tools/services: an open port is not yet a broker.
//
//	probe ready [-ca FILE -token FILE] ADMIN                    the broker is healthy and has its default namespace
//	probe grant [-ca FILE -token FILE] ADMIN NAMESPACE ROLE     the namespace is there, and the role may produce and consume in it
//	probe token -secret FILE ROLE                               prints a token for the role
//	probe roundtrip [-extras] ADMIN URL                         messages through a new topic, all of them read back; -extras: the
//	                                                            broker has Message.Index and keeps acks inside a batch, else neither
//	probe secured -files DIR -namespace NAME ADMIN URL          the same by TLS as alice, and what must be refused is refused
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which one: ready, grant, token, roundtrip or secured?")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	ca := flags.String("ca", "", "ready, grant: file with the certificate authority, PEM")
	tokenFile := flags.String("token", "", "ready, grant: file with the token to show")
	secret := flags.String("secret", "", "token: file with the secret that signs")
	extras := flags.Bool("extras", false, "roundtrip: the broker has what brokers have switched off as they come")
	files := flags.String("files", "", "secured: folder with ca.pem and the tokens")
	namespace := flags.String("namespace", "", "secured: where alice may produce and consume")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch rest := flags.Args(); {
	case args[0] == "ready" && len(rest) == 1:
		// A broker that has just started may take its time for its first health check; many at once make it slower.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		a, err := newAdmin(rest[0], *ca, *tokenFile)
		if err != nil {
			return err
		}
		return a.ready(ctx)
	case args[0] == "grant" && len(rest) == 3:
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		a, err := newAdmin(rest[0], *ca, *tokenFile)
		if err != nil {
			return err
		}
		return a.grant(ctx, rest[1], rest[2])
	case args[0] == "token" && len(rest) == 1 && *secret != "":
		key, err := os.ReadFile(*secret)
		if err != nil {
			return err
		}
		_, err = fmt.Print(token(key, rest[0]))
		return err
	case args[0] == "roundtrip" && len(rest) == 2:
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		a, err := newAdmin(rest[0], "", "")
		if err != nil {
			return err
		}
		return roundtrip(ctx, a, "public/default", *extras, clientOptions(rest[1], "", ""))
	case args[0] == "secured" && len(rest) == 2 && *files != "" && *namespace != "":
		ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
		defer cancel()
		a, err := newAdmin(rest[0], filepath.Join(*files, "ca.pem"), filepath.Join(*files, "admin.token"))
		if err != nil {
			return err
		}
		return secured(ctx, a, *files, *namespace, rest[1])
	}
	return fmt.Errorf("cannot read the arguments %q; the ways to call are at the top of main.go", args)
}
