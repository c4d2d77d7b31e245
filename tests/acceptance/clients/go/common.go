// Package common holds what both Go clients send.
package common

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const Pieces = 13

// Arguments are those of every client: see ../README.md.
type Arguments struct {
	Base       string
	Compressed bool
	TLS        *tls.Config // nil without one
	Sizes      []int
}

func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func Read() Arguments {
	a := Arguments{Base: os.Args[1], Compressed: os.Args[2] == "compressed"}
	if path := os.Args[3]; path != "" {
		pem, err := os.ReadFile(path)
		Check(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		a.TLS = &tls.Config{RootCAs: pool}
	}
	for _, word := range strings.Split(os.Args[4], ",") {
		size, err := strconv.Atoi(word)
		Check(err)
		a.Sizes = append(a.Sizes, size)
	}
	return a
}

func Text(size int) []byte {
	return []byte(strings.Repeat("aé漢😀", size/10) + strings.Repeat("x", size%10))
}

func Binary(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i)
	}
	return data
}

// Version is that of a module which is built into the program.
func Version(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == path {
			return strings.TrimPrefix(path, "github.com/") + " " + module.Version + ", " + info.GoVersion
		}
	}
	return path
}
