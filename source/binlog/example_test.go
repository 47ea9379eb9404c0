package binlog_test

import (
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

// A row is in the lanes of all its unique keys, before and after the change. It comes back from its JSON form.
func Example() {
	table := &binlog.Table{
		Database: "shop", Name: "accounts",
		Columns: []binlog.Column{{Name: "id", Type: "int"}, {Name: "email", Type: "varchar", Collation: "utf8mb4_general_ci"}},
		Keys:    []binlog.UniqueKey{{Name: "PRIMARY", Columns: []int{0}}, {Name: "email", Columns: []int{1}}},
	}
	row := &binlog.Row{
		Table: table, Kind: binlog.Update,
		Before: []any{int64(7), "Ann"}, After: []any{int64(7), "Zoë"},
		Transaction: "0-1-77",
	}
	value, err := row.AppendValue(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", value[:110])

	back := &keystrand.Message{Stream: "shop.accounts", Value: value} // for example a dead letter
	read, err := binlog.RowOf(back)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read.Kind, read.Table, read.After)

	key, err := binlog.Key(back)
	if err != nil {
		fmt.Println(err)
		return
	}
	lane, more, _ := key.Lanes()
	fmt.Println(lane, more)
	// Output:
	// {"kind":"update","database":"shop","table":"accounts","before":{"id":7,"email":"Ann"},"after":{"id":7,"email":
	// update shop.accounts [7 Zoë]
	// PRIMARY=7 [email=ann email=zoe]
}
