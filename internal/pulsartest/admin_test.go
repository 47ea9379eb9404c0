package pulsartest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const topic = "persistent://public/ns/orders"

// answers is a broker that gives one answer to each request, and repeats the last one.
type answers struct {
	give []string // status and body
	got  []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.got = append(a.got, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.String(), "http://broker/admin/v2/")+" "+string(body)))
	var status int
	if _, err := fmt.Sscanf(a.give[0], "%d", &status); err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(a.give[0], " ")
	if len(a.give) > 1 {
		a.give = a.give[1:]
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func TestAdmin(t *testing.T) {
	create := func(ctx context.Context, a *Admin) error { return a.Create(ctx, topic, 2) }
	remove := func(ctx context.Context, a *Admin) error { return a.Remove(ctx, topic, 2) }
	const (
		get  = "GET persistent/public/ns/orders/partitions"
		put  = "PUT persistent/public/ns/orders/partitions 2"
		del  = "DELETE persistent/public/ns/orders/partitions?force=true"
		list = "GET persistent/public/ns"
		one  = "DELETE persistent/public/ns/orders-partition-1?force=true"
	)
	for _, c := range []struct {
		name   string
		do     func(context.Context, *Admin) error
		give   []string
		want   []string
		status int // of the error, 0: none
	}{
		{"done", create, []string{"204", `200 {"partitions":2}`}, []string{put, get}, 0},
		{"a topic without partitions", func(ctx context.Context, a *Admin) error { return a.Create(ctx, topic, 0) }, []string{"204"}, []string{"PUT persistent/public/ns/orders"}, 0},
		{"a busy broker", create, []string{"500 BadVersion", "503", "204", `200 {"partitions":2}`}, []string{put, put, put, get}, 0},
		{"created by a failed attempt", create, []string{"500", "409 exists", `200 {"partitions":2}`}, []string{put, put, get}, 0},
		{"made by a try in vain, without partitions", func(ctx context.Context, a *Admin) error { return a.Create(ctx, topic, 0) }, []string{"500", "409 exists"}, []string{"PUT persistent/public/ns/orders", "PUT persistent/public/ns/orders"}, 0},
		{"an unload that another one forestalls", func(ctx context.Context, a *Admin) error { return a.Unload(ctx, topic) }, []string{"503", "409"}, []string{"PUT persistent/public/ns/orders/unload", "PUT persistent/public/ns/orders/unload"}, 409},
		{"created by another client", create, []string{"409 exists"}, []string{put}, 409},
		{"a wrong request", create, []string{"412 name"}, []string{put}, 412},
		{"a topic without partitions is gone", func(ctx context.Context, a *Admin) error { return a.Remove(ctx, topic, 0) }, []string{"204"}, []string{"DELETE persistent/public/ns/orders?force=true"}, 0},
		{"gone", remove, []string{"204", `200 ["persistent://public/ns/others-partition-1"]`}, []string{del, list}, 0},
		{"deleted by a failed attempt", remove, []string{"500", "404", "200 []"}, []string{del, del, list}, 0},
		{"never existed", remove, []string{"404"}, []string{del}, 404},
		{
			"a partition that reappears", remove,
			[]string{"204", `200 ["` + topic + `-partition-1"]`, "204", `200 ["` + topic + `-partition-1"]`, "404", "200 []"},
			[]string{del, list, one, list, one, list},
			0,
		},
		{"a partition that may not be deleted", remove, []string{"204", `200 ["` + topic + `-partition-1"]`, "403"}, []string{del, list, one}, 403},
		{"no list", remove, []string{"204", "401"}, []string{del, list}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := &answers{give: c.give}
				err := c.do(t.Context(), &Admin{URL: "http://broker", Transport: broker})
				if statusOf(err) != c.status || (err == nil) != (c.status == 0) {
					t.Errorf("error = %v, want status %d", err, c.status)
				}
				if !slices.Equal(broker.got, c.want) {
					t.Errorf("asked for\n%s\nwant\n%s", strings.Join(broker.got, "\n"), strings.Join(c.want, "\n"))
				}
			})
		})
	}
}

func TestRetriesEndAfterTheGuard(t *testing.T) {
	for _, c := range []struct {
		name, says string
		give       []string
		do         func(context.Context, *Admin) error
	}{
		{"a broker that does not recover", "BadVersion", []string{"500 BadVersion"}, func(ctx context.Context, a *Admin) error { return a.Unload(ctx, topic) }},
		{"a partition that always reappears", "orders-partition-0 reappeared", []string{`200 ["` + topic + `-partition-0"]`}, func(ctx context.Context, a *Admin) error { return a.Remove(ctx, topic, 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := c.do(t.Context(), &Admin{URL: "http://broker", Transport: &answers{give: c.give}})
				if took := time.Since(began); err == nil || !strings.Contains(err.Error(), c.says) || took < guard-interval || took > guard {
					t.Errorf("after %v: %v, want an error that contains %q after %v", took, err, c.says, guard)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := c.do(ctx, &Admin{URL: "http://broker", Transport: &answers{give: c.give}}); err == nil {
					t.Error("error = nil after the end of the context, want its cause")
				}
			})
		})
	}
}

func TestCreateFailsIfAPartitionExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := &answers{give: []string{"500", "409 exists", `200 {"partitions":0}`}}
		err := (&Admin{URL: "http://broker", Transport: broker}).Create(t.Context(), topic, 2)
		if err == nil || !strings.Contains(err.Error(), "has 0 partitions, want 2") {
			t.Errorf("error %v", err)
		}
	})
}

// hung is a broker that fails once and then stays silent.
type hung struct{ asked bool }

func (h *hung) RoundTrip(r *http.Request) (*http.Response, error) {
	if !h.asked {
		h.asked = true
		return (&answers{give: []string{"500 BadVersion"}}).RoundTrip(r)
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestTimeoutReturnsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := (&Admin{URL: "http://broker", Transport: &hung{}}).Unload(t.Context(), topic)
		if !IsFault(err) || !strings.Contains(err.Error(), "BadVersion") {
			t.Errorf("error %v, want the error of the broker", err)
		}
	})
}

func TestNamespaceSetsPolicies(t *testing.T) {
	broker := &answers{give: []string{"204"}}
	a := &Admin{URL: "http://broker", Token: "secret", Transport: broker}
	name, err := a.Namespace(t.Context(), map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}})
	want := []string{"PUT namespaces/" + name, "POST namespaces/" + name + `/autoTopicCreation {"allowAutoTopicCreation":false}`}
	if err != nil || !slices.Equal(broker.got, want) {
		t.Errorf("%v, asked for %q, want %q", err, broker.got, want)
	}
	broker.give = []string{"401"}
	if _, err := a.Namespace(t.Context(), nil); statusOf(err) != http.StatusUnauthorized {
		t.Errorf("error %v, want the error of the broker", err)
	}
}
