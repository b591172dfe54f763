package cli

import (
	"io"
	"os"

	"golang.org/x/sys/windows"
)

// understandsColor asks the console to read escape sequences; one before Windows 10 cannot.
func understandsColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	console := windows.Handle(f.Fd())
	var mode uint32
	return windows.GetConsoleMode(console, &mode) == nil &&
		windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
