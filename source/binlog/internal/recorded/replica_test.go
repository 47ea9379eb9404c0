package recorded_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
)

func TestReaderGoesOnAtAPromotedReplica(t *testing.T) {
	r := recorded.Load(t, recorded.Bank)
	var want []recorded.GTID
	for _, e := range r.Events() {
		if g, ok := e.GTID(); ok {
			want = append(want, g)
		}
	}
	last := want[40]
	promoted := recorded.GTID{Domain: 0, Server: 2, Sequence: want[len(want)-1].Sequence + 1}
	want = append(want[41:], promoted)

	s := recorded.Serve(t, r)
	replica := r.Replica("replica.000007", 2)
	s.Replace(replica.Append(recorded.WithGTID(r.Transaction(r.Find(200, isGTID)), promoted)...))
	var got []recorded.GTID
	reader := read(t, config(s), "", 0, last.String())
	reader.until(func(e *replication.BinlogEvent) bool {
		if g, ok := e.Event.(*replication.MariadbGTIDEvent); ok {
			got = append(got, recorded.GTID{Domain: g.GTID.DomainID, Server: g.GTID.ServerID, Sequence: g.GTID.SequenceNumber})
		}
		return len(got) == len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("transactions = %v, want %v", got, want)
	}
	reader.until(func(e *replication.BinlogEvent) bool { return e.Header.EventType == replication.XID_EVENT })

	// A file of the old primary means nothing to the new one.
	wantError(t, read(t, config(s), r.Files[0].Name, 4, "").fails(), 1236, "Could not find first log file name")
	// What only the new primary has is unknown to the old one.
	s.Replace(r)
	wantError(t, read(t, config(s), "", 0, promoted.String()).fails(), 1236, "not in the master's binlog")
}

func TestReaderConnectsWithTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	s := recorded.ServeTLS(t, recorded.Load(t, recorded.Bank), &tls.Config{Certificates: web.TLS.Certificates})
	c := config(s)
	c.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
	c.TLSConfig.RootCAs.AddCert(web.Certificate())
	read(t, c, "binlog.000001", 4, "").until(func(e *replication.BinlogEvent) bool { return e.Header.EventType == replication.XID_EVENT })

	c.TLSConfig = &tls.Config{ServerName: "example.com"}
	if stream, err := replication.NewBinlogSyncer(c).StartSyncGTID(gtidSet(t, "")); err == nil {
		t.Errorf("stream = %v, want an error: the certificate's authority is unknown", stream)
	}
}
