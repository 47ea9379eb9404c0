package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

// readLog reads all changes of a topic, in order. Nobody appends to the topic, and no other subscriber is active.
func readLog(ctx context.Context, service, topic string) (all []logged, err error) {
	end := ""
	err = subscribe(ctx, service, topic, url.Values{"from": {"oldest"}}, func(r drc.Record) bool {
		switch r.Type {
		case drc.Heartbeat:
			end = r.End
		case drc.Row:
			c := change{topic + "/" + r.Table, transactionOf(end, r), r.Index - 1}
			all = append(all, logged{change: c, lanes: lanesOf(r), at: r.Time})
		case drc.DDL:
			for _, table := range r.Tables {
				c := change{topic + "/" + table, transactionOf(end, r), 0}
				all = append(all, logged{change: c, statement: true, at: r.Time})
			}
		case drc.Commit, drc.Failure:
		}
		return r.Type != drc.Commit || r.Checkpoint != end
	})
	return all, err
}

// transactionOf names the transaction of a record. end is any checkpoint of its topic.
func transactionOf(end string, r drc.Record) string {
	return fmt.Sprintf("%s:%d", end[:strings.LastIndexByte(end, ':')], r.Transaction)
}

// lanesOf returns the values of the unique keys before and after a change. NULL is no value.
func lanesOf(r drc.Record) (lanes []string) {
	for _, image := range [][]any{r.Before, r.After} {
		for _, k := range r.Keys {
			i := slices.IndexFunc(r.Columns, func(c drc.Column) bool { return c.Name == k.Columns[0] }) // all have one column
			if image == nil || image[i] == nil {
				continue
			}
			if lane := fmt.Sprintf("%s %v", k.Name, image[i]); !slices.Contains(lanes, lane) {
				lanes = append(lanes, lane)
			}
		}
	}
	return lanes
}

// subscribe opens a stream and passes its records to next until that returns false.
func subscribe(ctx context.Context, service, topic string, query url.Values, next func(drc.Record) bool) error {
	resp, err := get(ctx, service+"/topics/"+topic+"/records?"+query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	d.UseNumber()
	for {
		var r drc.Record
		if err := d.Decode(&r); err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		if r.Error != nil {
			return fmt.Errorf("read topic %s: %w", topic, r.Error)
		}
		if !next(r) {
			return nil
		}
	}
}

// countRecords returns how many changes and statements all topics have.
func countRecords(ctx context.Context, service string) (n int, err error) {
	resp, err := get(ctx, service+"/topics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); d.More(); {
		var info drc.TopicInfo
		if err := d.Decode(&info); err != nil {
			return 0, fmt.Errorf("read the list of topics: %w", err)
		}
		n += info.Records
	}
	return n, nil
}

func get(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}
