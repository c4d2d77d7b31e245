// coder/websocket as a client of the host. The contract is in ../../README.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/coder/websocket"

	common "perigee-clients"
)

var ctx = context.Background()

func open(a common.Arguments, path string) *websocket.Conn {
	options := websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: &http.Transport{TLSClientConfig: a.TLS}},
		CompressionMode: websocket.CompressionDisabled,
	}
	if a.Compressed {
		options.CompressionMode = websocket.CompressionContextTakeover
	}
	conn, _, err := websocket.Dial(ctx, a.Base+path, &options)
	common.Check(err)
	conn.SetReadLimit(-1)
	return conn
}

// Each write is a frame, and the end of the message one more.
func sendInFragments(conn *websocket.Conn, kind websocket.MessageType, data []byte) {
	writer, err := conn.Writer(ctx, kind)
	common.Check(err)
	step := len(data)/common.Pieces + 1
	for at := 0; at < len(data); at += step {
		_, err = writer.Write(data[at:min(at+step, len(data))])
		common.Check(err)
	}
	common.Check(writer.Close())
}

func echo(conn *websocket.Conn, kind websocket.MessageType, data []byte, inFragments bool) {
	if inFragments {
		sendInFragments(conn, kind, data)
	} else {
		common.Check(conn.Write(ctx, kind, data))
	}
	gotKind, got, err := conn.Read(ctx)
	common.Check(err)
	if gotKind != kind || !bytes.Equal(got, data) {
		common.Check(fmt.Errorf("%d bytes came back otherwise", len(data)))
	}
}

func end(err error) string {
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		common.Check(fmt.Errorf("no Close frame: %w", err))
	}
	return fmt.Sprint(int(closed.Code), " ", closed.Reason)
}

func ping(conn *websocket.Conn) {
	// Pongs are noticed by who reads.
	reading := make(chan error)
	go func() {
		_, _, err := conn.Read(ctx)
		reading <- err
	}()
	common.Check(conn.Ping(ctx))
	common.Check(conn.Write(ctx, websocket.MessageText, []byte("behind the pong")))
	common.Check(<-reading)
	fmt.Println("ping: ok")
}

func main() {
	a := common.Read()
	fmt.Println("version:", common.Version("github.com/coder/websocket"))

	conn := open(a, "/echo")
	count := 0
	for _, size := range a.Sizes {
		for _, inFragments := range []bool{false, true} {
			echo(conn, websocket.MessageText, common.Text(size), inFragments)
			echo(conn, websocket.MessageBinary, common.Binary(size), inFragments)
		}
		count += 2
	}
	fmt.Println("echo:", count)
	fmt.Println("fragments:", count)
	ping(conn)
	conn.CloseNow()

	// Close answers nil where the other side's Close frame is as ours was.
	conn = open(a, "/ends")
	common.Check(conn.Close(4000, "client first"))
	fmt.Println("client_first: 4000")

	conn = open(a, "/ends")
	common.Check(conn.Write(ctx, websocket.MessageText, []byte("4001 server first")))
	_, _, err := conn.Read(ctx)
	fmt.Println("server_first:", end(err))
}
