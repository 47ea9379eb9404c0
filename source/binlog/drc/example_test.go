package drc_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

// A subscriber reads the lines of a topic behind a checkpoint.
func ExampleServer() {
	s, err := drc.NewServer(drc.ServerConfig{Topics: []string{"shop"}, Log: "log1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, amount := range []string{"9.50", "7.25"} {
		err := s.Append("shop", drc.Record{
			Type: drc.Row, Table: "shop.orders", Kind: drc.Insert, After: []any{amount},
			Columns: []drc.Column{{Name: "amount", Type: "decimal"}},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	service := httptest.NewServer(s)
	defer service.Close()
	resp, err := http.Get(service.URL + "/topics/shop/records?from=shop@log1:1")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := json.NewDecoder(resp.Body); ; {
		var r drc.Record
		if err := lines.Decode(&r); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Type, r.Checkpoint, r.After)
		if r.Type == drc.Commit {
			return
		}
	}
	// Output:
	// heartbeat shop@log1:1 []
	// row  [7.25]
	// commit shop@log1:2 []
}

// New returns all errors of a configuration at once. It makes no connection.
func ExampleNew() {
	_, err := drc.New("localhost:7070", []string{"shop"}, nil, drc.Config{CatchUp: -1})
	fmt.Println(err)
	// Output:
	// drc: the URL names no service: want http://host:port or https://host
	// drc: CatchUp is negative: -1
	// drc: store is nil: the service keeps no progress, so a store has to
}
