// Package pulsarprobe finds out which hosts of a Pulsar cluster answer, and what they speak.
package pulsarprobe

import (
	"context"
	"net"
	"strings"
	"sync"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// preferred is how often a host that answers is listed for each one that does not.
const preferred = 16

// Prefer returns the URL of a cluster with the hosts that answer now listed first and several times. It waits at most
// [Timeout]. The client library takes the hosts in turns, and waits for each: with one of two hosts down it asks the other one
// only for look-ups, and never gets a consumer where brokers redirect clients through the URL, as standalone ones do. A URL with
// one host stays as it is.
func Prefer(ctx context.Context, url string) string {
	return prefer(ctx, new(net.Dialer).DialContext, url)
}

func prefer(ctx context.Context, dial dialer, url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	list, path, _ := strings.Cut(rest, "/")
	hosts := strings.Split(list, ",")
	if len(hosts) < 2 {
		return url
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	alive := make([]bool, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		wg.Go(func() {
			if pulsarname.Encrypts(url) {
				alive[i] = speaksTLS(ctx, dial, withPort(host, "6651"))
			} else {
				alive[i] = speaksPulsar(ctx, dial, withPort(host, "6650"))
			}
		})
	}
	wg.Wait()
	var first, last []string
	for i, host := range hosts {
		if alive[i] {
			for range preferred {
				first = append(first, host)
			}
		} else {
			last = append(last, host)
		}
	}
	if len(first) == 0 || len(last) == 0 {
		return url
	}
	all := scheme + "://" + strings.Join(append(first, last...), ",")
	if path != "" {
		all += "/" + path
	}
	return all
}

// withPort returns the address of a host, which may lack its port.
func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
