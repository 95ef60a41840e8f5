// The microphone: start, loudness while it runs, and a file at the end.

export class Recorder {
  /** `onLevel(loudness 0..1, seconds)` is called while it runs. */
  constructor(onLevel) {
    this.onLevel = onLevel;
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the microphone to pages of this machine or of https addresses only.");
    }
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser();
    this.context.createMediaStreamSource(this.stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.recorder = new MediaRecorder(this.stream);
    this.parts = [];
    this.recorder.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    this.recorder.start(1000);
    const began = performance.now();
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const loudness = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
      this.onLevel(Math.min(1, loudness * 4), (performance.now() - began) / 1000);
    }, 100);
  }

  async stop() {
    const stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await stopped;
    clearInterval(this.timer);
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
    const type = this.recorder.mimeType || "audio/webm";
    return new File(this.parts, `recording.${type.includes("mp4") ? "mp4" : "webm"}`, { type });
  }
}
