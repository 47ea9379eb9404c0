//go:build !unix || solaris || aix

package bolt

import "os"

// unlock does nothing: here the lock ends with the file, or the process.
func unlock(*os.File) error { return nil }
