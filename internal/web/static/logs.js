// The lines of a page of logs, as they come. Without this script the page shows the
// lines there were; with it a button follows them. <slipway-log data-src="…"> is the
// list; each message of the stream is one line of HTML, made by the server.
"use strict";

class SlipwayLog extends HTMLElement {
  static most = 500; // lines kept in the page

  connectedCallback() {
    this.button = document.getElementById("log-follow");
    this.state = document.getElementById("log-state");
    this.waiting = [];
    this.toEnd();
    if (!this.button || !this.dataset.src) return;
    this.button.hidden = false;
    this.button.addEventListener("click", () => (this.source ? this.stop("") : this.follow()));
    this.addEventListener("scroll", () => this.atEnd() && this.flush(), { passive: true });
    this.follow();
  }

  disconnectedCallback() {
    this.stop("");
  }

  follow() {
    const from = new URL(this.dataset.src, location.href);
    if (this.last) from.searchParams.set("after", this.last); // what came while nobody followed
    this.source = new EventSource(from);
    this.source.addEventListener("line", (e) => {
      this.last = e.lastEventId;
      this.take(e.data);
    });
    this.source.addEventListener("open", () => this.say(""));
    this.source.addEventListener("error", () => this.lost());
    this.button.textContent = "Stop following";
    this.button.setAttribute("aria-pressed", "true");
  }

  stop(why) {
    this.source?.close();
    this.source = null;
    this.flush();
    this.say(why);
    if (!this.button) return;
    this.button.textContent = "Follow";
    this.button.setAttribute("aria-pressed", "false");
  }

  // The browser tries again by itself, with the place it had come to; what was closed
  // for good it does not.
  lost() {
    if (this.source?.readyState === EventSource.CLOSED) this.stop("not followed any more; reload the page");
    else this.say("connection lost, trying again");
  }

  // Who reads further up is left in peace: the lines wait below.
  take(html) {
    this.waiting.push(html);
    if (this.waiting.length > SlipwayLog.most) this.waiting.shift();
    if (!this.frame) this.frame = requestAnimationFrame(() => this.show());
    if (document.hidden) this.show();
  }

  show() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.atEnd()) this.flush();
    else if (this.waiting.length) this.say(this.waiting.length + " new below");
  }

  flush() {
    if (this.waiting.length === 0) return;
    document.getElementById("log-none")?.remove();
    this.insertAdjacentHTML("beforeend", this.waiting.join(""));
    this.waiting = [];
    while (this.childElementCount > SlipwayLog.most) this.firstElementChild.remove();
    this.say("");
    this.toEnd();
  }

  say(text) {
    if (this.state && this.state.textContent !== text) this.state.textContent = text;
  }

  atEnd() {
    return this.scrollHeight - this.scrollTop - this.clientHeight < 24;
  }

  toEnd() {
    this.scrollTop = this.scrollHeight;
  }
}

customElements.define("slipway-log", SlipwayLog);
