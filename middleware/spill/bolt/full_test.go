//go:build linux || darwin

package bolt_test

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
)

// onSmallDisk runs a test in a process of its own, whose files can be limited.
func onSmallDisk(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	const limited = "KEYSTRAND_BOLT_SMALL_DISK"
	if os.Getenv(limited) != "" {
		signal.Ignore(syscall.SIGXFSZ) // writes return EFBIG instead
		run(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), limited+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// limitFiles lets files of this process have at most so many bytes. 0: any number.
func limitFiles(t *testing.T, bytes uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur = limit.Max; bytes > 0 {
		limit.Cur = bytes
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

// The first bytes of the file have several writes. Each of them fails once.
func TestFileIsNotMadeWhileTheDiskIsFullAndIsMadeOnceThereIsRoom(t *testing.T) {
	onSmallDisk(t, func(t *testing.T) {
		t.Helper()
		failed := 0
		for size := uint64(1); ; size += 2048 {
			dir := t.TempDir()
			s, err := bolt.New(filepath.Join(dir, "spill.db"), bolt.Config{})
			if err != nil {
				t.Fatal(err)
			}
			limitFiles(t, size)
			_, _, full := s.Open(t.Context(), owner)
			names, err := os.ReadDir(dir)
			limitFiles(t, 0)
			if full == nil {
				_ = s.Close()
				break
			}
			failed++
			if errors.Is(full, spill.ErrUnusable) {
				t.Errorf("files of %d bytes: %v, which a retry does not heal", size, full)
			}
			if err != nil || len(names) > 1 || len(names) == 1 && names[0].Name() != "spill.db" {
				t.Errorf("files of %d bytes: the folder has %v, %v", size, names, err)
			}
			if _, _, err := s.Open(t.Context(), owner); err != nil {
				t.Errorf("files of %d bytes, then there is room: %v", size, err)
			}
			_ = s.Close()
		}
		if failed < 4 {
			t.Errorf("%d sizes were too small, want 4 or more", failed)
		}
	})
}

func TestStoreGoesOnOnceAFullDiskHasRoom(t *testing.T) {
	onSmallDisk(t, func(t *testing.T) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "spill.db")
		s, l := open(t, path)
		limitFiles(t, 1<<20)
		n := int64(0)
		add := func() error {
			m := message(n)
			m.Value = make([]byte, 20_000)
			return l.Append(t.Context(), []spill.Record{{Key: "a", Message: m}})
		}
		var full error
		for full == nil && n < 1000 {
			if full = add(); full == nil {
				n++
			}
		}
		if full == nil || errors.Is(full, spill.ErrUnusable) {
			t.Fatalf("Append to a full disk = %v, want an error that heals", full)
		}
		if err := add(); err == nil {
			t.Error("a second Append succeeds")
		}
		want := func(l spill.Log, want int64) {
			t.Helper()
			ms, err := l.Read(t.Context(), "a", -1, spill.Size{})
			if err != nil || int64(len(ms)) != want || ms[want-1].Offset != want-1 {
				t.Fatalf("Read = %d messages, %v, want %d", len(ms), err, want)
			}
		}
		want(l, n)
		limitFiles(t, 0)
		for end := n + 50; n < end; n++ {
			if err := add(); err != nil {
				t.Fatalf("with room: %v", err)
			}
		}
		want(l, n)
		if err := errors.Join(l.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		s, l = open(t, path)
		want(l, n)
		_ = errors.Join(l.Close(), s.Close())
	})
}
