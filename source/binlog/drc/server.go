package drc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

const contentType = "application/x-ndjson"

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Topics are the names of the topics. They have letters, digits, '.', '_' and '-', and begin with no dot.
	Topics []string
	// Log is the identity of the topics' logs, part of their checkpoints, of the same characters. Use one again only if the
	// same transactions are appended again in the same order. Default: a random one.
	Log string
	// Retain bounds the rows and statements that a topic keeps. A generated one takes about 600 bytes. The last transaction is
	// kept, whatever its size.
	// Default: 100,000.
	Retain int
	// Timeout is that of a subscriber without one of its own. It lives as long as it reads what it is sent. Default: 10 s.
	Timeout time.Duration
	// Logger gets a line when a subscriber comes, and when a stream ends. Default: none.
	Logger *slog.Logger
}

// TopicInfo is a line of the list of topics.
type TopicInfo struct {
	Topic   string   `json:"topic"`
	Log     string   `json:"log"`
	Oldest  string   `json:"oldest"`
	End     string   `json:"end"`
	Records int      `json:"records"` // kept
	Tables  []string `json:"tables"`  // all that a row or a statement has named
	Active  string   `json:"active,omitempty"`
	Waiting []string `json:"waiting,omitempty"`
}

// Server is the service: an [http.Handler]. It is safe for concurrent use.
//
// A stream ends with its request. To end all of them, cancel the BaseContext of the http.Server. The http.ResponseWriter must
// support flushing and write deadlines, as that of net/http does.
type Server struct {
	cfg    ServerConfig
	topics map[string]*topic
	mux    *http.ServeMux
}

// NewServer returns a server of these topics, all empty.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg.Log = cmp.Or(cfg.Log, rand.Text()[:8])
	cfg.Retain = cmp.Or(cfg.Retain, 100_000)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	var errs []error
	if len(cfg.Topics) == 0 || cfg.Retain < 0 || cfg.Timeout < minTimeout {
		errs = append(errs, fmt.Errorf("drc: %d topics, Retain %d, Timeout %v: want a topic, a row to retain, and at least %v",
			len(cfg.Topics), cfg.Retain, cfg.Timeout, minTimeout))
	}
	s := &Server{cfg: cfg, topics: make(map[string]*topic, len(cfg.Topics)), mux: http.NewServeMux()}
	if !validName.MatchString(cfg.Log) {
		errs = append(errs, fmt.Errorf("drc: Log %q: only letters, digits, '.', '_' and '-' are allowed", cfg.Log))
	}
	for _, name := range cfg.Topics {
		if !validName.MatchString(name) || s.topics[name] != nil {
			errs = append(errs, fmt.Errorf("drc: topic %q: given twice, or has others than letters, digits, '.', '_' and '-'", name))
		}
		s.topics[name] = newTopic(name, cfg.Log, cfg.Retain)
	}
	s.mux.HandleFunc("GET /topics", s.list)
	s.mux.HandleFunc("GET /topics/{topic}/records", s.records)
	s.mux.HandleFunc("POST /topics/{topic}/subscribers/{subscriber}", s.alive)
	return s, errors.Join(errs...)
}

// Append appends rows and statements to a topic, as one transaction. The server sets Transaction and Index, and Time if it is
// zero. It keeps nothing of the records, and never waits for a subscriber. An error means that nothing was appended.
func (s *Server) Append(topic string, records ...Record) error {
	t := s.topics[topic]
	if t == nil {
		return fmt.Errorf("drc: append to topic %q: there is no such topic", topic)
	}
	return t.append(records)
}

// ServeHTTP serves the protocol of docs/drc.md.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", contentType)
	e := json.NewEncoder(w)
	for _, name := range s.cfg.Topics {
		if e.Encode(s.topics[name].info()) != nil {
			return // the client has gone
		}
	}
}

func (s *Server) alive(w http.ResponseWriter, r *http.Request) {
	t, err := s.topicOf(r)
	if err != nil {
		err.write(w)
		return
	}
	name := r.PathValue("subscriber")
	sub := t.find(name)
	if sub == nil {
		err = &Error{Code: UnknownSubscriber, Message: fmt.Sprintf(
			"topic %s has no subscriber %q: it has left or timed out; open a stream again", t.name, name)}
		err.write(w)
		return
	}
	sub.alive()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	t, failure := s.topicOf(r)
	var req request
	if failure == nil {
		req, failure = parseRequest(t, r.URL.RawQuery)
	}
	if failure != nil {
		failure.write(w)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(errEnded)
	st := &stream{topic: t, selection: req.selection, cancel: cancel}
	stop, err := st.prepare(ctx, w)
	if err != nil {
		http.Error(w, "drc: the server cannot interrupt a write: "+err.Error(), http.StatusInternalServerError)
		return
	}
	defer stop()
	t.join(req.subscriber, st, func() *subscriber { return s.subscriber(t, req) })
	defer t.leave(st)
	if _, failure := t.view(st); failure != nil {
		failure.write(w)
		return
	}
	log := s.cfg.Logger.With(slog.String("topic", t.name), slog.String("subscriber", st.subscriber.name))
	log.InfoContext(ctx, "stream opened")
	err = st.run(ctx)
	log.InfoContext(ctx, "stream ended", slog.Any("cause", cmp.Or(context.Cause(ctx), err)))
}

// subscriber returns a new subscriber for the request.
func (s *Server) subscriber(t *topic, req request) *subscriber {
	sub := &subscriber{name: req.subscriber, timeout: req.timeout, posts: req.timeout > 0, turn: make(chan struct{})}
	if sub.name == "" {
		sub.name = rand.Text()[:8]
	}
	if sub.timeout == 0 {
		sub.timeout = s.cfg.Timeout
	}
	sub.timer = time.AfterFunc(sub.timeout, func() { t.expire(sub) })
	return sub
}

func (s *Server) topicOf(r *http.Request) (*topic, *Error) {
	name := r.PathValue("topic")
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	return nil, &Error{Code: UnknownTopic, Message: fmt.Sprintf("there is no topic %q: GET /topics lists them", name)}
}
