// gorilla/websocket as a client of the host. The contract is in ../../README.md.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	common "perigee-clients"
)

// A message longer than the buffer goes in fragments of its size: odd ones, and no more of them
// than a host takes. What is compressed is short.
func writeBuffer(a common.Arguments) int {
	if a.Compressed {
		return 131
	}
	return 4099
}

func open(a common.Arguments, path string, buffer int) *websocket.Conn {
	dialer := websocket.Dialer{
		TLSClientConfig:   a.TLS,
		EnableCompression: a.Compressed,
		WriteBufferSize:   buffer,
	}
	conn, _, err := dialer.Dial(a.Base+path, nil)
	common.Check(err)
	return conn
}

func echo(conn *websocket.Conn, kind int, data []byte) {
	common.Check(conn.WriteMessage(kind, data))
	gotKind, got, err := conn.ReadMessage()
	common.Check(err)
	if gotKind != kind || !bytes.Equal(got, data) {
		common.Check(fmt.Errorf("%d bytes came back otherwise", len(data)))
	}
}

func echoAll(a common.Arguments, conn *websocket.Conn) int {
	count := 0
	for _, size := range a.Sizes {
		echo(conn, websocket.TextMessage, common.Text(size))
		echo(conn, websocket.BinaryMessage, common.Binary(size))
		count += 2
	}
	return count
}

func ping(conn *websocket.Conn) {
	ponged := ""
	conn.SetPongHandler(func(data string) error {
		ponged = data
		return nil
	})
	common.Check(conn.WriteControl(websocket.PingMessage, []byte("are you there"), time.Time{}))
	echo(conn, websocket.TextMessage, []byte("behind the ping"))
	if ponged != "are you there" {
		common.Check(errors.New("no pong, or another"))
	}
	fmt.Println("ping: ok")
}

func end(conn *websocket.Conn) *websocket.CloseError {
	_, _, err := conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		common.Check(fmt.Errorf("no Close frame: %w", err))
	}
	return closed
}

func main() {
	a := common.Read()
	fmt.Println("version:", common.Version("github.com/gorilla/websocket"))

	conn := open(a, "/echo", 2<<20)
	fmt.Println("echo:", echoAll(a, conn))
	ping(conn)
	conn.Close()

	conn = open(a, "/echo", writeBuffer(a))
	fmt.Println("fragments:", echoAll(a, conn))
	conn.Close()

	conn = open(a, "/ends", 0)
	ours := websocket.FormatCloseMessage(4000, "client first")
	common.Check(conn.WriteControl(websocket.CloseMessage, ours, time.Time{}))
	closed := end(conn)
	fmt.Println("client_first:", closed.Code)
	conn.Close()

	conn = open(a, "/ends", 0)
	common.Check(conn.WriteMessage(websocket.TextMessage, []byte("4001 server first")))
	closed = end(conn)
	fmt.Println("server_first:", closed.Code, closed.Text)
	conn.Close()
}
