// Command probe is the readiness test and the smoke test of tools/services for Pulsar.
//
//	probe ready [-ca FILE -token FILE] ADMIN                    check that the broker is healthy and has its default namespace
//	probe grant [-ca FILE -token FILE] ADMIN NAMESPACE ROLE     create the namespace, and permit the role to produce and consume
//	probe token -secret FILE ROLE                               print a token for the role
//	probe roundtrip [-extras] ADMIN URL                         write messages to a new topic and read them; with -extras check
//	                                                            that the broker has Message.Index and batch-index acks, else
//	                                                            that it has neither
//	probe secured -files DIR -namespace NAME ADMIN URL          do that by TLS as alice, and check refusals
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
		return errors.New("no command: want ready, grant, token, roundtrip or secured")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	ca := flags.String("ca", "", "ready, grant: file with the certificate authority, PEM")
	tokenFile := flags.String("token", "", "ready, grant: file with the client's token")
	secret := flags.String("secret", "", "token: file with the secret that signs tokens")
	extras := flags.Bool("extras", false, "roundtrip: expect Message.Index and batch-index acks, which are off by default")
	files := flags.String("files", "", "secured: folder with ca.pem and the tokens")
	namespace := flags.String("namespace", "", "secured: namespace in which alice may produce and consume")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch rest := flags.Args(); {
	case args[0] == "ready" && len(rest) == 1:
		// The first health check of a starting broker is slow, and several at once are slower.
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
	return fmt.Errorf("unknown arguments %q; the top of main.go has the usage", args)
}
