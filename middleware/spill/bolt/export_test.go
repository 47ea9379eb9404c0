package bolt

// Hold takes the place of a call that writes, until release is called.
func Hold(s *Store) (release func()) {
	s.slot <- struct{}{}
	return s.release
}
