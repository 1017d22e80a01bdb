// A registry with the referrers API: go-containerregistry's own, with that API switched on, which its programs leave off.
// Arguments: the address to listen on, and the folder for blobs. Manifests are kept in memory.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	blobs := registry.NewDiskBlobHandler(os.Args[2])
	handler := registry.New(registry.WithReferrersSupport(true), registry.WithBlobHandler(blobs))
	log.Fatal(http.ListenAndServe(os.Args[1], handler))
}
