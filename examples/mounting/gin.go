package mounting

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// Gin mounts a server whose issuer has the path /auth, and an API that wants its
// tokens.
func Gin(server *handlers.Server, api bearer.Config) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.Any("/auth/*path", gin.WrapH(server))
	r.Any("/.well-known/*path", gin.WrapH(server))
	r.GET("/api/me", ginMiddleware(bearer.Middleware(api)), func(c *gin.Context) {
		token, _ := bearer.FromContext(c.Request.Context())
		c.String(http.StatusOK, token.Subject)
	})
	return r
}

// ginMiddleware makes middleware of net/http one of gin.
func ginMiddleware(m func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		m(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed, c.Request = true, r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed { // it answered itself
			c.Abort()
		}
	}
}
