package mounting

import (
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// Echo mounts a server whose issuer has the path /auth, and an API that wants its
// tokens.
func Echo(server *handlers.Server, api bearer.Config) http.Handler {
	e := echo.New()
	e.Use(middleware.Recover())
	e.Any("/auth/*", echo.WrapHandler(server))
	e.Any("/.well-known/*", echo.WrapHandler(server))
	e.GET("/api/me", func(c *echo.Context) error {
		token, _ := bearer.FromContext(c.Request().Context())
		return c.String(http.StatusOK, token.Subject)
	}, echo.WrapMiddleware(bearer.Middleware(api)))
	return e
}
