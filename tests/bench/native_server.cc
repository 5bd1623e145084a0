// The least that serves the same calls in C++: `native_server SOCKET VERSION UPLOADED CHUNK`.
//
// The last three are files with an encoded message each. `Upload` reads all messages and answers
// UPLOADED, `Download` sends CHUNK as often as the digits of its request say, every other call is
// answered by VERSION. No message is decoded.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

grpc::ByteBuffer Read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  grpc::Slice slice(std::string(std::istreambuf_iterator<char>(file), {}));
  return grpc::ByteBuffer(&slice, 1);
}

long Digits(const grpc::ByteBuffer& request) {
  std::vector<grpc::Slice> slices;
  request.Dump(&slices);
  long found = 0;
  for (const auto& slice : slices)
    for (uint8_t byte : slice)
      if (byte >= '0' && byte <= '9') found = 10 * found + (byte - '0');
  return found;
}

bool Ends(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

class Call : public grpc::ServerGenericBidiReactor {
 public:
  Call(bool upload, bool download, const grpc::ByteBuffer& answer)
      : upload_(upload), download_(download), answer_(answer) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (ok && upload_) {
      StartRead(&request_);
    } else if (ok && download_) {
      left_ = Digits(request_);
      Send();
    } else if (ok || upload_) {
      StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      Send();
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }

  void OnDone() override { delete this; }

 private:
  void Send() {
    if (left_-- > 0) {
      StartWrite(&answer_);
    } else {
      Finish(grpc::Status::OK);
    }
  }

  const bool upload_, download_;
  grpc::ByteBuffer answer_, request_;
  long left_ = 0;
};

class Service : public grpc::CallbackGenericService {
 public:
  explicit Service(char** files)
      : version_(Read(files[0])), uploaded_(Read(files[1])), chunk_(Read(files[2])) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* call) override {
    const bool upload = Ends(call->method(), "/Upload");
    const bool download = Ends(call->method(), "/Download");
    return new Call(upload, download, upload ? uploaded_ : download ? chunk_ : version_);
  }

 private:
  const grpc::ByteBuffer version_, uploaded_, chunk_;
};

}  // namespace

int main(int count, char** words) {
  if (count != 5) return 2;
  Service service(words + 2);
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  builder.AddListeningPort(std::string("unix:") + words[1], grpc::InsecureServerCredentials());
  builder.BuildAndStart()->Wait();
}
