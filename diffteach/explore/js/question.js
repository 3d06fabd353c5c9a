// The guess that is asked for before the answer is shown, and how it is judged.

class Question {
  constructor(view) {
    this.view = view;
    this.verdict = make("span", { class: "dt-verdict", "aria-live": "polite" });
    this.reveal = make("button", { type: "button", class: "dt-reveal", onclick: () => this.turn() }, "Reveal");
    const text = make("span", {}, ...marked(view.scene.prediction.question));
    this.element = make("div", { class: "dt-question" }, text, this.reveal, this.verdict);
  }

  turn() {
    this.view.change("revealed", this.view.frame.values.revealed ? 0 : 1);
    this.judge();
    this.view.settle();
  }

  judge() {
    const { frame, scene, host } = this.view;
    const open = Boolean(frame.values.revealed);
    write(this.reveal, open ? "Guess again" : "Reveal");
    if (!open) return write(this.verdict, "");
    const { right, wrong, tolerance } = scene.prediction;
    // Scored once, at Reveal: what is moved afterwards changes the answer, not the guess.
    const gap = (host.score ??= frame.score);
    write(this.verdict, `${gap <= tolerance ? right : wrong} Your guess is ${formatNumber(gap, ".2f")} away.`);
  }
}
