package main

const help = `Walk: a program, one system call at a time

space, enter  go on to the next stop: before a call, after it, or asleep in it
e  z          go on until the program is about to wait for events, or sleeps
n             go on until the next call on the chosen client
r             run slowly, five stops a second; r stops
← →  Home End look at what has been seen; End is now

c             connect a client; 1 to 9 chooses one
s  b  B       the client sends a line, 64 KiB, or 16 MiB
p             it stops reading, or reads again
f  d  x       it half-closes (FIN), closes, or resets (RST)
q, Ctrl-C     quit: the program is ended, too

▶ the line that makes the call      · the lines that led to it
● on the ready list                 ◂ changed by the last step
The cells of a bar: 1 byte or more, 32, 1K, 32K, 1M.

Other clients work, too: nc, with the address in the first line.
Any key closes this page.`
