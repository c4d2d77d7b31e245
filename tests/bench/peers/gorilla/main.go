// Gorilla's websocket, one processor: an echo at /echo; at /broadcast what anyone sends goes to all.
//
//	gorilla [-deflate] [-cert FILE -key FILE]
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
	"sync"

	"github.com/gorilla/websocket"
)

// Messages that a slow member may lag behind.
const backlog = 1024

var upgrader = websocket.Upgrader{
	CheckOrigin: func(*http.Request) bool { return true },
}

type room struct {
	mutex   sync.Mutex
	members map[chan *websocket.PreparedMessage]bool
}

func (r *room) enter() chan *websocket.PreparedMessage {
	heard := make(chan *websocket.PreparedMessage, backlog)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.members[heard] = true
	return heard
}

func (r *room) leave(heard chan *websocket.PreparedMessage) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.members, heard)
	close(heard)
}

func (r *room) say(message *websocket.PreparedMessage) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for heard := range r.members {
		heard <- message
	}
}

func echo(conn *websocket.Conn) {
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, data) != nil {
			return
		}
	}
}

func (r *room) serve(conn *websocket.Conn) {
	heard := r.enter()
	defer r.leave(heard)
	go func() {
		for message := range heard {
			if conn.WritePreparedMessage(message) != nil {
				conn.Close()
			}
		}
	}()
	for {
		kind, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(kind, data)
		if err != nil {
			return
		}
		r.say(message)
	}
}

func upgraded(serve func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}
}

func main() {
	deflate := flag.Bool("deflate", false, "agree to permessage-deflate")
	cert := flag.String("cert", "", "serve by TLS, with this certificate")
	key := flag.String("key", "", "and its key")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	upgrader.EnableCompression = *deflate

	all := &room{members: map[chan *websocket.PreparedMessage]bool{}}
	http.HandleFunc("/echo", upgraded(echo))
	http.HandleFunc("/broadcast", upgraded(all.serve))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	if *cert != "" {
		log.Fatal(http.ServeTLS(listener, nil, *cert, *key))
	}
	log.Fatal(http.Serve(listener, nil))
}
