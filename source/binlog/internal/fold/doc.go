// Package fold maps texts to names so that two texts that a collation of MariaDB or MySQL holds for equal have one name. Texts that
// the collation tells apart may share a name too: a name keeps little more than letters and digits.
//
// The rules are not the collations' own. They are made so that all the equalities of all the collations that a Class names
// hold, which a test asks a server for. A text with a character for which this is not known has no name.
//
// Names are stored, so a text must have the same name in every release.
package fold
