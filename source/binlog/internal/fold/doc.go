// Package fold gives texts names. Two texts that are equal under a collation of MariaDB or MySQL have the same name. Texts that
// differ may have the same name too: a name keeps little more than letters and digits.
//
// The rules are coarser than those of any collation. A live test compares them with the equalities that a server reports. A
// text has no name if one of its characters is not covered.
//
// Names are stored, so a text must have the same name in every release.
package fold
