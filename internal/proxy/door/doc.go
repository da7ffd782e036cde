// Package door lets callers' connections in: counted, bounded, and with room made
// for who waits by closing who has been idle longest. It reads no request and knows
// no route; its judges are real sockets, up to a full table of open files.
//
// Two bounds hold: of one listener, and of the whole data plane, which is what the
// limit of open files leaves. At a bound one more connection is accepted and held
// unread; the others wait in the kernel's queue. If any connection of those that
// fill the bound has been idle for a second after an answer, the one that is idle
// longest is closed; else the held one waits until one closes. A connection that
// has not had its first request yet is never closed for another's sake: it has the
// time limit of a head.
package door
