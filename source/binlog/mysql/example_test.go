package mysql_test

import (
	"fmt"
	"time"

	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func ExampleNew() {
	_, err := mysql.New("db.example", []string{"shop.orders", "stock"}, newMemStore(), mysql.Config{
		User:      "keystrand",
		Heartbeat: -time.Second,
		Start:     mysql.File("binlog.000007", 4),
	})
	fmt.Println(err)
	// Output:
	// mysql: address "db.example" is not host:port, nor the path of a socket
	// mysql: Heartbeat is negative: -1s
	// mysql: Start is file "binlog.000007" position 4, and FilePosition is not set: choose one
	// mysql: Tables: pattern "stock": it must be "database.table", with one dot; write "\." for a dot in a name
}
